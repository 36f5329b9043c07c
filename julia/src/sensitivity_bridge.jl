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
    T = eltype(record.result.u1)
    gradient = NDERegEngine.continuous_adjoint(
        record.field, parameters(pullback, record, T), record.result,
        state_cotangents(pullback, T, length(record.result.u1)); sensealg, abstol = atol, reltol = rtol, record.algorithm
    )
    hand_over(gradient, pullback, T)
    return join(gradient.messages, '\0')
end
