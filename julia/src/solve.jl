# A solve with its record of steps.

import Logging

"""
    solve(field, p, u0, tspan; algorithm, abstol, reltol, options...) -> NamedTuple

Solve du/dt = f(u, p, t) and keep what the solver knew about every accepted step.

# Arguments
- `field`: a `Field`; `p`: its parameters, a vector.
- `u0`: initial state, an array of any shape; `tspan`: both ends, the second may be the smaller one.
- `algorithm`: of OrdinaryDiffEq, see `algorithm`.
- `abstol`, `reltol`: absolute (units of u) and relative (dimensionless) tolerance.
- `saveat`: times strictly inside the interval, in the direction of integration.
- `dt`: length of the first step, or of every step if `adaptive` is false; `nothing` for automatic.
- `adaptive`: whether steps are controlled by their errors.
- `maxiters`: limit on attempted steps.
- `stiffness`: "rms" or "max", see `StagePair`.
- `keep_states`: keep the state at the start of every step, or of at most `checkpoints` of them if that is positive.
- `keep_solution`: keep OrdinaryDiffEq's solution with dense output, for `interpolate` and the continuous adjoints.

# Returns
- `u1`, `t_reached`: the last accepted state and its time; `saved`: states at `saveat`, as far as they were reached.
- `t`, `dt`, `scaled_error`, `stiffness`: one entry per accepted step; NaN where the method has no estimate. `rows` has
  the same in one matrix, shape (4, steps).
- `states`: matrix of the states kept, shape (length(u0), count), and `kept`, the indices of the steps they begin.
- `retcode`: how it ended, a symbol, see `return_code`; `rejected`, `evaluations`: counts; `messages`: warnings of the solver.
- `first_rejected`: how many of the rejected were tries of the first step; `order`: of the step's error, see `error_order`.
- `solution`: OrdinaryDiffEq's, or nothing.
"""
function solve(
        field::Field, p::AbstractVector, u0::AbstractArray{T}, tspan; algorithm, abstol, reltol, saveat = (), dt = nothing,
        adaptive = true, maxiters = 100_000, stiffness = "rms", keep_states = false, checkpoints = 0,
        keep_solution = false
    ) where {T}
    t0, t1 = T.(tspan)
    counted = Counted(field, u0; remember = forgets_stages(algorithm))
    has_error = is_adaptive_method(algorithm)
    fixed = !adaptive && has_error
    isnothing(dt) && (fixed || !has_error) && throw(ArgumentError(
        "$(nameof(typeof(algorithm))) takes steps of a given length and none was given; pass dt"
    ))
    recorder = Recorder(
        u0; keep_states, checkpoints, has_error, estimate = stiffness_estimate(algorithm, stiffness == "rms", counted)
    )
    equation = SciMLBase.ODEProblem(
        SciMLBase.ODEFunction{true, SciMLBase.FullSpecialize}(counted), u0, (t0, t1), p
    )
    first_step = isnothing(dt) ? (;) : (; dt = T(dt))
    # Steps of one length whose errors are estimated all the same: no other is allowed, and none is rejected.
    lengths = fixed ? (; dtmin = T(dt), dtmax = T(dt), force_dtmin = true) : (;)
    logger = Messages(String[])
    integrator = Logging.with_logger(logger) do
        integrator = SciMLBase.init(
            equation, for_field(algorithm, field); abstol = T(abstol), reltol = T(reltol), adaptive = has_error, maxiters,
            saveat = keep_solution ? T[] : T.(saveat), save_start = keep_solution, save_end = keep_solution, save_everystep = keep_solution,
            dense = keep_solution, callback = SciMLBase.DiscreteCallback(recorder, identity; save_positions = (false, false)),
            first_step..., lengths...
        )
        # An error to be reported, not thrown, even before the first step.
        isfinite(integrator.dt) ? SciMLBase.solve!(integrator) : give_up!(integrator)
        integrator
    end
    keep_solution && complete!(integrator.sol)
    retcode = return_code(integrator)
    rows = reshape(recorder.rows, 4, :)
    # After a failure `u` is the step that was refused.
    u1 = retcode === :Success ? integrator.u : integrator.uprev
    recorder.keep_states && checkpoints == 0 && append!(recorder.states, vec(u1))
    return (;
        u1, t_reached = Float64(integrator.t), saved = keep_solution ? interpolated(integrator, saveat) : integrator.sol.u,
        t = rows[1, :], dt = rows[2, :], scaled_error = rows[3, :], stiffness = rows[4, :], rows,
        states = reshape(recorder.states, length(u0), :), recorder.kept,
        retcode, rejected = Int(integrator.stats.nreject), recorder.first_rejected, order = error_order(algorithm),
        counted.evaluations, logger.messages, solution = keep_solution ? integrator.sol : nothing,
    )
end

"States at save times, as far as the solve has come; a solution that is kept holds the ends of steps alone."
interpolated(integrator, saveat) =
    [integrator.sol(eltype(integrator.sol.t)(t)) for t in saveat if integrator.tdir * (integrator.t - t) >= 0]

"""
    return_code(integrator)

How a solve ended, as the name of a code of SciMLBase.ReturnCode. A step too short to advance time, which OrdinaryDiffEq
calls `Unstable` too, is `DtLessThanMin`.
"""
function return_code(integrator)
    code = Symbol(integrator.sol.retcode)
    finite = isfinite(scaled_error(integrator)) && all(isfinite, integrator.u)
    return code === :Unstable && finite ? :DtLessThanMin : code
end

"Evaluate the stages that a lazy interpolant leaves out, so that dense output costs no evaluation later."
function complete!(solution)
    hasproperty(solution.alg, :lazy) || return nothing
    for n in 1:(length(solution.t) - 1)
        solution((solution.t[n] + solution.t[n + 1]) / 2)
    end
    return nothing
end

"The estimate of stiffness that an algorithm has."
function stiffness_estimate(algorithm, rms, counted)
    is_composite(algorithm) && return OwnStiffness()
    isnothing(stiffness_stages(algorithm)) && return NoStiffness()
    return StagePair(rms, counted)
end

const TABLEAUS = Dict{Any, Any}()

"The tableau of an algorithm, probed once."
tableau_of(algorithm) =
    get!(() -> Base.invokelatest(tableau, algorithm; adaptive = is_adaptive_method(algorithm)), TABLEAUS, typeof(algorithm))

"""
    for_field(algorithm, field)

The algorithm, with Jacobians by finite differences where dual numbers cannot enter the field and none were chosen.
"""
function for_field(algorithm, field)
    is_implicit(algorithm) && !is_generic(field) || return algorithm
    return without_duals(algorithm)
end

"""
    interpolate(solution, times) -> matrix

Dense output of a solution that was kept. Shape (length(u), length(times)).
"""
function interpolate(solution, times)
    result = similar(vec(solution.u[1]), length(solution.u[1]), length(times))
    for (column, t) in zip(eachcol(result), times)
        copyto!(column, solution(eltype(solution.t)(t)))
    end
    return result
end

# --- warnings

"Collects the solver's warnings as text."
struct Messages <: Logging.AbstractLogger
    messages::Vector{String}
end

Logging.min_enabled_level(::Messages) = Logging.Warn
Logging.shouldlog(::Messages, arguments...) = true
Logging.catch_exceptions(::Messages) = false
Logging.handle_message(logger::Messages, level, message, arguments...; keywords...) =
    (push!(logger.messages, string(message)); nothing)
