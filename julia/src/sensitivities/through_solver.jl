# Gradients through the solver: the solve is made again, with sensitivities beside the states, or dual or traced numbers.

"Gradient by another solve, without what arrives at the start."
function differentiate_solver(field, p, record, tspan, jumps; sensealg, abstol, reltol, algorithm, maxiters)
    u0 = record.solution.u[1]
    T = eltype(u0)
    # The first time is the start of the interval, where nothing is left to do.
    times, columns = jumps.times[2:end], jumps.columns[:, 2:end]
    settings = (;
        abstol = T(abstol), reltol = T(reltol), maxiters, saveat = times, save_start = false, save_everystep = false,
        fixed_length(algorithm, record, 1, T)...
    )
    logger = Messages(String[])
    gu0, gp = Logging.with_logger(logger) do
        differentiate(Val(sensealg.name), field, p, u0, tspan, columns, algorithm, settings)
    end
    return (; u0 = gu0, p = gp, logger.messages)
end

"The states of a solve at the times that it saves, which have to be complete."
function states_of(solution, count)
    length(solution.u) == count || throw(AdjointFailed(["the further solve ended with $(solution.retcode)"]))
    return solution.u
end

function differentiate(::Val{:ForwardDiffSensitivity}, field, p, u0, tspan, columns, algorithm, settings)
    n = length(u0)
    gradient = ForwardDiff.gradient([vec(u0); p]) do x
        equation = generic_equation(field, reshape(x[1:n], size(u0)), x[(n + 1):end], tspan)
        states = states_of(SciMLBase.solve(equation, algorithm; settings...), size(columns, 2))
        return sum(dot(column, vec(state)) for (column, state) in zip(eachcol(columns), states))
    end
    return reshape(gradient[1:n], size(u0)), gradient[(n + 1):end]
end

# Sensitivities to the initial state are those to further parameters, which the equation does not read and which start at 1.
function differentiate(::Val{:ForwardSensitivity}, field, p, u0, tspan, columns, algorithm, settings)
    check_accurate_jacobian(algorithm)
    n, m = length(u0), length(p)
    function f!(du, u, q, t)
        copyto!(du, evaluate(field, reshape(u, size(u0)), view(q, 1:m), t))
        return nothing
    end
    started = hcat(zeros(eltype(u0), n, m), Matrix{eltype(u0)}(LinearAlgebra.I, n, n))
    parameters = [p; vec(u0)]
    augmented = SciMLSensitivity.ODEForwardSensitivityProblem(f!, vec(u0), tspan, parameters, ForwardSensitivity())
    # `remake` would start all sensitivities at 0 again.
    equation = SciMLBase.ODEProblem(augmented.f, [vec(u0); vec(started)], tspan, parameters)
    states = states_of(SciMLBase.solve(equation, without_duals(algorithm); settings...), size(columns, 2))
    gradient = zeros(eltype(u0), n + m)
    for (column, state) in zip(eachcol(columns), states), i in eachindex(gradient)
        gradient[i] += dot(column, view(state, (i * n + 1):((i + 1) * n)))
    end
    return reshape(gradient[(m + 1):end], size(u0)), gradient[1:m]
end

function differentiate(name::Val, field, p, u0, tspan, columns, algorithm, settings)
    equation = generic_equation(field, u0, p, tspan)
    sensealg = traced(name)
    gu0, gp = try
        states, back = Zygote.pullback(u0, p) do u0, p
            return SciMLBase.solve(equation, algorithm; u0, p, sensealg, settings...).u
        end
        length(states) == size(columns, 2) || throw(AdjointFailed(["the further solve did not reach every time"]))
        back([reshape(collect(column), size(u0)) for column in eachcol(columns)])
    catch error
        # Numbers that a solver or a right-hand side was not written for.
        error isa MethodError || rethrow()
        throw(ArgumentError(
            "$(nameof(typeof(sensealg))) cannot differentiate $(nameof(typeof(algorithm))) with this right-hand side in the installed " *
            "versions of SciML's packages; pass an adjoint such as InterpolatingAdjoint"
        ))
    end
    return isnothing(gu0) ? zero(u0) : reshape(collect(gu0), size(u0)), isnothing(gp) ? zero(p) : collect(gp)
end

traced(::Val{name}) where {name} = THROUGH_THE_SOLVER[name]()

# Their steps are only as accurate as the Jacobian, which finite differences of badly scaled sensitivities are not: on
# Robertson's equations the gradients were wrong without a sign of it.
function check_accurate_jacobian(algorithm)
    parts = is_composite(algorithm) ? algorithm.algs : (algorithm,)
    any(part -> nameof(parentmodule(typeof(part))) === :OrdinaryDiffEqRosenbrock, parts) && throw(ArgumentError(
        "ForwardSensitivity needs an exact Jacobian of the sensitivities with the Rosenbrock method " *
        "$(nameof(typeof(algorithm))); pass ForwardDiffSensitivity, or a method such as FBDF"
    ))
    return nothing
end
