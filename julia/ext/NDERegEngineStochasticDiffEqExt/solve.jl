# A stochastic solve with its record of steps.

function NDERegEngine.solve_stochastic(
        drift, diffusion, u0::AbstractArray{T}, tspan; path, algorithm, abstol, reltol, interpretation = nothing,
        saveat = (), dt = nothing, adaptive = true, estimates = is_adaptive(algorithm), maxiters = 100_000,
        stiffness = "rms", keep_states = false, checkpoints = 0
    ) where {T}
    t0, t1 = Float64.(tspan)
    has_pair = algorithm isa StochasticDiffEq.SOSRI2
    f, g = Counted(drift, u0; remember = has_pair), Counted(diffusion, u0)
    estimate = has_pair ? StagePair(stiffness == "rms", f) : NoStiffness()
    recorder = Recorder(u0; keep_states, checkpoints, has_error = estimates, estimate)
    problem = prepared(f, g, u0, (t0, t1), path)
    check(algorithm, problem, interpretation)
    isnothing(dt) && !(adaptive && estimates) && throw(ArgumentError(
        "$(nameof(typeof(algorithm))) takes steps of a given length and none was given; pass dt"
    ))
    logger = Messages(String[])
    integrator = Logging.with_logger(logger) do
        integrator = SciMLBase.init(
            problem, for_field(algorithm, drift); abstol = T(abstol), reltol = T(reltol), adaptive = estimates,
            maxiters, saveat = Float64.(saveat), save_start = false, save_end = false, save_everystep = false,
            callback = SciMLBase.DiscreteCallback(recorder, identity; save_positions = (false, false)),
            step_lengths(dt, estimates && !adaptive)...
        )
        isfinite(integrator.dt) ? SciMLBase.solve!(integrator) : NDERegEngine.give_up!(integrator)
        integrator
    end
    retcode = NDERegEngine.return_code(integrator)
    # After a failure `u` is the step that was refused.
    u1 = retcode === :Success ? integrator.u : integrator.uprev
    recorder.keep_states && checkpoints == 0 && append!(recorder.states, vec(u1))
    rows = reshape(recorder.rows, 4, :)
    return (;
        u1, t_reached = Float64(integrator.t), saved = integrator.sol.u,
        t = rows[1, :], dt = rows[2, :], scaled_error = rows[3, :], stiffness = rows[4, :], rows,
        states = reshape(recorder.states, length(u0), :), recorder.kept,
        retcode, rejected = Int(integrator.stats.nreject), recorder.first_rejected,
        order = NDERegEngine.error_order(algorithm) + 0.5,
        f.evaluations, diffusion_evaluations = g.evaluations, logger.messages, solution = nothing,
    )
end

"The problem, with noise for every element of the state, or as the matrix of a general diffusion maps it."
function prepared(f, g, u0, tspan, path)
    noise_rate_prototype = g.field isa GeneralDiffusion ? NDERegEngine.noise_matrix(g.field) : nothing
    noise = isnothing(noise_rate_prototype) ? u0 : zeros(eltype(u0), size(noise_rate_prototype, 2))
    return stochastic_problem(f, g, u0, tspan, HostProcess(path, noise, tspan...); noise_rate_prototype)
end

"""
What decides about step lengths: a first one, or one for all of them. Steps of one length whose errors are estimated all
the same: no other is allowed, and none is rejected.
"""
step_lengths(dt, fixed) =
    isnothing(dt) ? (;) : fixed ? (; dt, dtmin = dt, dtmax = dt, force_dtmin = true) : (; dt)

"The algorithm, with Jacobians by finite differences where dual numbers cannot enter the drift and none were chosen."
for_field(algorithm, drift) = NDERegEngine.is_generic(drift) ? algorithm : NDERegEngine.without_duals(algorithm)

function check(algorithm, problem, wanted)
    name = nameof(typeof(algorithm))
    isnothing(wanted) || wanted == interpretation(algorithm) || throw(ArgumentError(
        "$name solves $(in_words(interpretation(algorithm))) equations, and this one is in $(in_words(wanted)) form; pass " *
        "another method, or interpretation = $(repr(wanted)) to one that takes it"
    ))
    solves(algorithm, problem) || throw(ArgumentError(
        "$name does not solve equations with noise of this kind; pass a method that does, such as EM or EulerHeun"
    ))
    needs_other_noise(algorithm, problem.noise.dW) && throw(ArgumentError(
        "$name draws random numbers of its own beside the path, which has increments and areas only; pass another method"
    ))
    return nothing
end

in_words(interpretation) = interpretation == "ito" ? "Itô" : "Stratonovich"
