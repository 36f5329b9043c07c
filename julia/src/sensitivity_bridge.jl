# Entry points of the bridge for the algorithms of SciMLSensitivity; part of the module `Bridge`.

using ..NDERegEngine: Sensitivity

"""
    sensealg(name, keys, values)

A sensitivity algorithm with its options, `autojacvec` among them.
"""
sensealg(name, keys, values) =
    hold(NDERegEngine.sensealg(String(name); (Symbol(String(k)) => plain(v) for (k, v) in zip(keys, values))...))

"""
    continuous_adjoint(address, sensealg, rtol, atol)

Gradient of a record whose solution was kept, by a sensitivity algorithm and at these tolerances; see
`NDERegEngine.continuous_adjoint`. Returns the solver's warnings, separated by null characters.
"""
function continuous_adjoint(address, sensealg, rtol, atol)
    pullback = unsafe_load(Ptr{Pullback}(UInt(address)))
    return continuous_adjoint(pullback, OBJECTS[pullback.record], OBJECTS[sensealg], rtol, atol)
end

function continuous_adjoint(pullback::Pullback, record::Record, sensealg::Sensitivity, rtol, atol)
    result = record.result
    T, size = eltype(result.u1), length(result.u1)
    p = unsafe_wrap(Array, Ptr{T}(pullback.p), length(record.p))
    saves = pullback.times == C_NULL ? 0 : pullback.saves
    cotangents = (;
        u1 = optional(T, pullback.u1, size),
        times = saves == 0 ? Float64[] : unsafe_wrap(Array, pullback.times, saves),
        saved = saves == 0 ? zeros(T, size, 0) : unsafe_wrap(Array, Ptr{T}(pullback.saved), (size, saves)),
    )
    gradient = NDERegEngine.continuous_adjoint(
        record.field, p, result, cotangents; sensealg, abstol = atol, reltol = rtol, record.algorithm
    )
    unsafe_copyto!(Ptr{T}(pullback.gu0), pointer(gradient.u0), size)
    pullback.gp == C_NULL || unsafe_copyto!(Ptr{T}(pullback.gp), pointer(gradient.p), length(p))
    unsafe_store!(pullback.gt, gradient.t0, 1)
    unsafe_store!(pullback.gt, gradient.t1, 2)
    return join(gradient.messages, '\0')
end
