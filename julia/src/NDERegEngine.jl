"""
    NDERegEngine

Solve ordinary differential equations with the solvers of OrdinaryDiffEq, keep what they know about every step (its local
error, an estimate of the stiffness), and differentiate the solution and these estimates. Stochastic equations are solved by
StochasticDiffEq, which is loaded when a method of it is first asked for.

Public functions take plain arrays and numbers and return named tuples. The state `u` is an array of any shape whose last
axis runs over samples; `p` is one flat vector of parameters.
"""
module NDERegEngine

using LinearAlgebra: LinearAlgebra, dot, mul!, transpose!
using SparseArrays: SparseMatrixCSC, nnz, nonzeros

export algorithm, tableau
export FunctionField, CallbackField, NetworkField, evaluate!, pullback!, workspace
export solve, interpolate, discrete_adjoint, continuous_adjoint
export Bound, CallbackPath, GeneralDiffusion, solve_stochastic, stochastic_algorithm

include("methods.jl")
include("internals.jl")
include("fields.jl")
include("network.jl")
include("tableau.jl")
include("recording.jl")
include("solve.jl")
include("replay.jl")
include("stochastic.jl")
include("sensitivities.jl")
include("bridge.jl")
include("precompile.jl")

end
