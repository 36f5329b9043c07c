# ALL access to names that the SciML packages do not export. `test/internals.jl` has a canary for each: when one of them
# fails after an update, this is the file to change.

import DiffEqBase, OrdinaryDiffEqCore, SciMLBase

"Error of the integrator's latest step in units of the tolerance (OrdinaryDiffEqCore 4: the controller's cache holds it)."
scaled_error(integrator) = OrdinaryDiffEqCore.get_EEst(integrator)

"Whether the algorithm switches between others; only such algorithms fill `eigen_est`."
is_composite(algorithm) = algorithm isa OrdinaryDiffEqCore.CompositeAlgorithm

"The solver's own stiffness estimate; meaningful for composite algorithms alone."
own_stiffness(integrator) = integrator.eigen_est

"Whether the algorithm has an error estimate."
is_adaptive(algorithm) = SciMLBase.isadaptive(algorithm)

"""
    error_order(algorithm)

The power of its length by which the error estimate of a step grows: the algorithm's order; NaN where that varies or is not known.
"""
function error_order(algorithm)
    nameof(parentmodule(typeof(algorithm))) in VARYING_ORDER_LIBRARIES && return NaN
    try
        return Float64(SciMLBase.alg_order(algorithm))
    catch  # the packages throw where an algorithm has no order of its own
        return NaN
    end
end

# Sublibraries whose methods change their order as they go.
const VARYING_ORDER_LIBRARIES = (:OrdinaryDiffEqBDF, :OrdinaryDiffEqAdamsBashforthMoulton, :OrdinaryDiffEqNordsieck,
    :OrdinaryDiffEqExtrapolation)

"Whether the algorithm solves implicit equations."
is_implicit(algorithm) = OrdinaryDiffEqCore.isimplicit(algorithm)

# Sublibraries all of whose methods take the same explicit Runge–Kutta step every time.
const EXPLICIT_RUNGE_KUTTA_LIBRARIES = (:OrdinaryDiffEqTsit5, :OrdinaryDiffEqLowOrderRK, :OrdinaryDiffEqVerner,
    :OrdinaryDiffEqHighOrderRK, :OrdinaryDiffEqSSPRK, :OrdinaryDiffEqFeagin)

"Whether the algorithm is an explicit Runge–Kutta method with one tableau."
is_explicit_runge_kutta(algorithm) = nameof(parentmodule(typeof(algorithm))) in EXPLICIT_RUNGE_KUTTA_LIBRARIES

"""
    stage_pair(cache, u) -> (k_p, k_q, g_p, g_q)

Slopes and states of the last two stages in an in-place cache, right after a step: `tmp` still holds the state of the last
inner stage.
"""
stage_pair(c::OrdinaryDiffEqTsit5.Tsit5Cache, u) = (c.k7, c.k6, u, c.tmp)

"""
Whether the cache no longer has the last two stages after a step, because memory is used twice (k6 of DP5 becomes dense
output, k3 of Verner's methods the error), so that they have to be remembered while they are evaluated.
"""
forgets_stages(algorithm) =
    algorithm isa Union{OrdinaryDiffEqLowOrderRK.DP5, OrdinaryDiffEqVerner.Vern7, OrdinaryDiffEqVerner.Vern9}

"Stages with equal nodes, by which a method estimates stiffness; none where it is not in the table."
stiffness_stages(algorithm) = nothing
stiffness_stages(::OrdinaryDiffEqTsit5.Tsit5) = (7, 6)
stiffness_stages(::OrdinaryDiffEqLowOrderRK.DP5) = (7, 6)
stiffness_stages(::OrdinaryDiffEqVerner.Vern7) = (10, 9)
stiffness_stages(::OrdinaryDiffEqVerner.Vern9) = (16, 15)

"A variant of the algorithm that evaluates the interpolant's extra stages within the step."
function eager(algorithm)
    hasproperty(algorithm, :lazy) || return algorithm
    return Base.typename(typeof(algorithm)).wrapper(; lazy = Val(false))
end

"""
    without_duals(algorithm)

An implicit algorithm with finite-difference Jacobians in place of ForwardDiff's default; one that was chosen stays.
"""
function without_duals(algorithm)
    is_composite(algorithm) &&
        return OrdinaryDiffEqCore.CompositeAlgorithm(map(without_duals, algorithm.algs), algorithm.choice_function)
    hasproperty(algorithm, :autodiff) && algorithm.autodiff isa ADTypes.AutoForwardDiff || return algorithm
    return SciMLBase.remake(algorithm; autodiff = ADTypes.AutoFiniteDiff())
end

"""
    restore_step_length!(integrator)

After a step that was cut to end at a stop time, give the integrator back the length of the step that it took: where
`dtmin` is longer than that, it holds `dtmin` until the next step, and save points would be interpolated with it.
"""
function restore_step_length!(integrator)
    taken = integrator.t - integrator.tprev
    abs(integrator.dt) > abs(taken) * (1 + sqrt(eps(typeof(taken)))) && (integrator.dt = taken)
    return nothing
end

"What an algorithm may mean by the stochastic integral, by name."
const INTERPRETATIONS = Dict(
    "ito" => SciMLBase.AlgorithmInterpretation.Ito, "stratonovich" => SciMLBase.AlgorithmInterpretation.Stratonovich,
)

"Whether a type is one of OrdinaryDiffEq's algorithms."
is_algorithm_type(type) = type <: OrdinaryDiffEqCore.OrdinaryDiffEqAlgorithm

"End a solve whose first step has no finite length."
give_up!(integrator) =
    integrator.sol = SciMLBase.solution_new_retcode(integrator.sol, SciMLBase.ReturnCode.DtNaN)

"The solution with dense output, as one of another form of its equation, on the interval that was reached."
with_equation(solution, equation) = SciMLBase.build_solution(
    equation, eager(solution.alg), solution.t, solution.u; dense = true, solution.k, solution.interp,
    retcode = SciMLBase.ReturnCode.Success, solution.stats
)
