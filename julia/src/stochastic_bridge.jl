# Entry points of the bridge for stochastic equations; part of the module `Bridge`.

using ..NDERegEngine: Bound, CallbackPath, GeneralDiffusion, solve_stochastic, stochastic_algorithm

"""
    stochastic_method(name, keys, values)

A stochastic algorithm with its options. The first call loads StochasticDiffEq.
"""
stochastic_method(name, keys, values) =
    hold(stochastic_algorithm(String(name); (Symbol(String(k)) => plain(v) for (k, v) in zip(keys, values))...))

"Whether a stochastic algorithm has an error estimate."
has_estimate(number) = Base.invokelatest(NDERegEngine.has_stochastic_estimate, OBJECTS[number])

"""
What is asked for: `solve`, with `field` for the drift; the diffusion and its parameters; `noises` for each sample, 0 where
every element of the state has one; the path, see `CallbackPath`; whether error estimates are; 0 for Itô, 1 for
Stratonovich, -1 where both are the same.
"""
struct StochasticRequest
    solve::Request
    diffusion::Int64
    q::Ptr{Cvoid}
    parameters::Int64
    noises::Int64
    increments::Ptr{Cvoid}
    token::Int64
    estimates::Int64
    interpretation::Int64
end

"What came of it; the indices of the steps whose first states were kept."
struct StochasticReply
    reply::Reply
    diffusion_evaluations::Int64
    kept::Ptr{Int64}
    kept_steps::Int64
end

"""
    solve_stochastic_request(request, reply)

Solve what the request at one address asks for, and write the reply to the other.
"""
function solve_stochastic_request(request_address, reply_address)
    request = unsafe_load(Ptr{StochasticRequest}(UInt(request_address)))
    reply = solve_request(
        request, OBJECTS[request.solve.field], OBJECTS[request.diffusion], OBJECTS[request.solve.method],
        number_type(request.solve)
    )
    unsafe_store!(Ptr{StochasticReply}(UInt(reply_address)), reply)
    return nothing
end

function solve_request(request::StochasticRequest, f::Field, g::Field, algorithm, ::Type{T}) where {T}
    asked = request.solve
    shape = Tuple(unsafe_wrap(Array, asked.dimensions, asked.rank))
    p = unsafe_wrap(Array, Ptr{T}(asked.p), asked.parameters)
    q = unsafe_wrap(Array, Ptr{T}(request.q), request.parameters)
    is_general = request.noises > 0
    u0 = unsafe_wrap(Array, Ptr{T}(asked.u0), is_general ? (prod(shape),) : shape)
    result = solve_stochastic(
        Bound(f, p, shape), is_general ? general(g, T, request.noises, shape) : Bound(g, q, shape), u0, (asked.t0, asked.t1);
        path = CallbackPath(request.increments, request.token), algorithm, abstol = asked.atol, reltol = asked.rtol,
        interpretation = request.interpretation < 0 ? nothing : request.interpretation == 0 ? "ito" : "stratonovich",
        saveat = copy(unsafe_wrap(Array, asked.saveat, asked.saves)), dt = isnan(asked.dt) ? nothing : asked.dt,
        adaptive = asked.adaptive == 1, estimates = request.estimates == 1, maxiters = asked.max_steps,
        stiffness = asked.rms == 1 ? "rms" : "max", keep_states = asked.keep_states == 1, checkpoints = asked.checkpoints,
    )
    size = length(u0)
    for (i, state) in enumerate(result.saved)
        unsafe_copyto!(Ptr{T}(asked.saved) + (i - 1) * size * sizeof(T), pointer(state), size)
    end
    unsafe_copyto!(Ptr{T}(asked.u1), pointer(result.u1), size)
    reply = Reply(
        hold((; result)), get(STATUSES, result.retcode, 4), length(result.t), result.rejected, result.evaluations,
        result.t_reached, length(result.saved), pointer(result.rows), pointer(result.states), length(result.messages),
        result.first_rejected, result.order,
    )
    return StochasticReply(reply, result.diffusion_evaluations, pointer(result.kept), length(result.kept))
end

general(g::CallbackField, ::Type{T}, noises, shape) where {T} =
    GeneralDiffusion(g, T, noises, shape[1], prod(shape[2:end]; init = 1))
general(::Field, args...) = throw(ArgumentError(
    "g is a Julia function, which has one noise for each element of the state here; pass a Python function for general noise"
))
