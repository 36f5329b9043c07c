# Gradients of a solve by the algorithms of SciMLSensitivity.

import SciMLSensitivity

include("sensitivities/choices.jl")
include("sensitivities/products.jl")
include("sensitivities/through_solver.jl")

"""
    continuous_adjoint(field, p, record, cotangents; sensealg, abstol, reltol, algorithm, maxiters = 1_000_000) -> NamedTuple

Gradient of a loss of a solve with respect to its initial state, parameters and times, by a sensitivity algorithm: exact for
the true solution, and up to the tolerances for the numerical one.

# Arguments
- `record`: what `solve` returned, with `keep_solution = true`.
- `cotangents`: named tuple of
  - `u1`: of the state at the end that was reached, or nothing;
  - `times`, `saved`: of states at these times, matrix (length(u), length(times)); ends of the interval included.
- `sensealg`: see the function `sensealg`.
- `abstol`, `reltol`: of the adjoint equation, absolute (units of the cotangents) and relative (dimensionless).
- `algorithm`: as in `solve`, for the backward solve too; implicit ones take their Jacobians by finite differences.

# Returns
`u0` (an array of the state's shape), `p`, `t0`, `t1` (save times stand still), and `messages`: warnings of the solver.

# Errors
`ArgumentError` if the solution was not kept, a time is outside the interval, or the field cannot be differentiated that
way; `AdjointFailed` if the backward solve did not arrive.
"""
function continuous_adjoint(
        field::Field, p::AbstractVector, record, cotangents; sensealg::Sensitivity, abstol, reltol, algorithm,
        maxiters = 1_000_000
    )
    isnothing(record.solution) && throw(ArgumentError("the record has no solution; pass keep_solution = true to solve"))
    check_field(field, sensealg)
    check_integral(sensealg, algorithm)
    solution = record.solution
    u0 = solution.u[1]
    T = eltype(u0)
    tspan = (solution.t[1], T(record.t_reached))
    jumps = arrivals(cotangents, tspan, length(u0))
    if tspan[1] == tspan[2] || all(iszero, jumps.columns)
        gradient = (; u0 = zero(u0), p = zero(p), messages = String[])
    elseif haskey(ADJOINTS, sensealg.name)
        gradient = solve_adjoint(field, p, record, tspan, jumps; sensealg, abstol, reltol, algorithm, maxiters)
    else
        gradient = differentiate_solver(field, p, record, tspan, jumps; sensealg, abstol, reltol, algorithm, maxiters)
    end
    t0 = -dot(gradient.u0, slope(field, u0, p, tspan[1]))
    t1 = isnothing(cotangents.u1) ? 0.0 : dot(vec(cotangents.u1), vec(slope(field, record.u1, p, tspan[2])))
    # What arrives at t0 goes straight to the initial state.
    vec(gradient.u0) .+= jumps.at_start
    return (; gradient.u0, gradient.p, t0 = Float64(t0), t1 = Float64(t1), gradient.messages)
end

slope(field, u, p, t) = (du = similar(u); evaluate!(field, du, u, p, t, workspace(field, u)); du)

"One sentence about products that a field cannot give."
function check_field(field, choice::Sensitivity)
    is_generic(field) && return nothing
    haskey(ADJOINTS, choice.name) || throw(ArgumentError(
        "$(choice.name) solves with other numbers than floating-point ones, which this right-hand side does not take; " *
        "pass an adjoint such as InterpolatingAdjoint"
    ))
    choice.products === :field || throw(ArgumentError(
        "autojacvec is \"$(choice.products)\", but this right-hand side has no products other than its own; pass autojacvec = \"field\""
    ))
    return nothing
end

# The gradient of two parameters of a relaxation oscillator with FBDF at 1e-9: 2e-4 by GaussAdjoint, 8e-9 by GaussKronrodAdjoint.
"One sentence about an integral that converges too slowly with multistep methods."
function check_integral(choice::Sensitivity, algorithm)
    choice.name === :GaussAdjoint && nameof(parentmodule(typeof(algorithm))) === :OrdinaryDiffEqBDF && throw(ArgumentError(
        "GaussAdjoint loses the accuracy of the multistep method $(nameof(typeof(algorithm))) in its integral; pass GaussKronrodAdjoint"
    ))
    return nothing
end

"""
    arrivals(cotangents, tspan, size) -> NamedTuple

What arrives from outside: `times` in the order of the solve, each once, the start of the interval always among them, and `columns`
(size, length(times)) with zeros for the start, whose cotangent is `at_start`.
"""
function arrivals(cotangents, tspan, size)
    T = typeof(tspan[1])
    start, stop = tspan
    forward = stop >= start
    given = T.(cotangents.times)
    for time in given
        min(start, stop) <= time <= max(start, stop) ||
            throw(ArgumentError("a cotangent is given at t = $time, but the solve covers $start to $stop; pass times inside it"))
    end
    ends = isnothing(cotangents.u1) ? T[start] : T[start, stop]
    times = sort!(unique!([ends; given]); rev = !forward)
    columns = zeros(T, size, length(times))
    for (time, cotangent) in zip(given, eachcol(cotangents.saved))
        view(columns, :, searchsortedfirst(times, time; rev = !forward)) .+= cotangent
    end
    isnothing(cotangents.u1) || (view(columns, :, length(times)) .+= vec(cotangents.u1))
    at_start = columns[:, 1]
    columns[:, 1] .= 0
    return (; times, columns, at_start)
end

"""
    AdjointFailed(messages)

Thrown when the backward solve of an adjoint equation did not arrive at the start of the interval.
"""
struct AdjointFailed <: Exception
    messages::Vector{String}
end

"The first line of a solver's warning, its toggle left out."
headline(message) = first(line for line in strip.(split(message, '\n')) if !isempty(line) && !startswith(line, "Verbosity toggle"))

Base.showerror(io::IO, error::AdjointFailed) = print(
    io, "the adjoint equation could not be solved back to the start of the interval",
    isempty(error.messages) ? "" : " ($(headline(error.messages[end])))",
    "; pass larger tolerances, or an algorithm for stiff equations"
)

"Gradient by an adjoint equation, without what arrives at the start."
function solve_adjoint(field, p, record, tspan, jumps; sensealg, abstol, reltol, algorithm, maxiters)
    solution = record.solution
    u0 = solution.u[1]
    T = eltype(u0)
    joint = sensealg.name in (:InterpolatingAdjoint, :BacksolveAdjoint)
    equation = sensealg.products === :field ? equation_with_products(field, u0, p, tspan; joint) :
        generic_equation(field, u0, p, tspan)
    method = adjoint_algorithm(sensealg; abstol = T(abstol), reltol = T(reltol))
    tolerances = (;
        abstol = T(get(sensealg.options, :abstol, abstol)), reltol = T(get(sensealg.options, :reltol, reltol))
    )
    # The start of the interval is the first of the times: that its turn comes shows that the backward solve arrived.
    arrived = Ref(false)
    function jump(result, u, p, t, i)
        i == 1 && (arrived[] = true)
        copyto!(result, view(jumps.columns, :, i))
        return nothing
    end
    logger = Messages(String[])
    gu0, gp = Logging.with_logger(logger) do
        SciMLSensitivity.adjoint_sensitivities(
            with_equation(solution, equation), backward_algorithm(algorithm); t = jumps.times, dgdu_discrete = jump,
            sensealg = method, maxiters, tolerances..., fixed_length(algorithm, record, -1, T)...
        )
    end
    arrived[] || throw(AdjointFailed(logger.messages))
    return (; u0 = reshape(Array(gu0), size(u0)), p = isnothing(gp) ? zero(p) : vec(collect(gp)), logger.messages)
end

"The algorithm as a backward solve takes it: an interpolant that is evaluated late, within a callback, loses accuracy."
backward_algorithm(algorithm) = eager(without_duals(algorithm))

"Methods of fixed steps go on with steps of the length they came with, in that direction or (sign -1) back."
fixed_length(algorithm, record, sign, T) =
    is_adaptive_method(algorithm) ? (;) : (; adaptive = false, dt = T(sign * record.dt[1]))
