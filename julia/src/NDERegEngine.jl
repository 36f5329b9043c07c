"""
    NDERegEngine

Solve ordinary differential equations with the solvers of OrdinaryDiffEq, keep what they know about every step (its local
error, an estimate of the stiffness), and differentiate the solution and these estimates.

Public functions take plain arrays and numbers and return named tuples. The state `u` is an array of any shape whose last
axis runs over samples; `p` is one flat vector of parameters.
"""
module NDERegEngine

using LinearAlgebra: LinearAlgebra, dot, mul!

export algorithm, tableau
export FunctionField, CallbackField, NetworkField, evaluate!, pullback!, workspace
export solve, interpolate, discrete_adjoint, continuous_adjoint

include("methods.jl")
include("internals.jl")
include("fields.jl")
include("network.jl")
include("tableau.jl")
include("recording.jl")
include("solve.jl")
include("replay.jl")
include("sensitivities.jl")
include("bridge.jl")
include("precompile.jl")

end
