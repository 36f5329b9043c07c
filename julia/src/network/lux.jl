# The same network made of Lux's layers, for use with the rest of Julia's ecosystem.

import Lux, NNlib

"""
    lux_model(field::NetworkField)

The Lux model with the same layers. Call it as `model(u, lux_parameters(field, p), lux_states(model, t))`.
"""
lux_model(field::NetworkField) = lux_chain(field, 1, length(field.layers))

function lux_chain(field, first, last)
    layers, k = Any[], first
    while k <= last
        closing = closing_sum(field, k, last)
        if closing == 0
            push!(layers, lux_layer(field.layers[k]))
            k += 1
        else
            push!(layers, Lux.SkipConnection(lux_chain(field, k, closing - 1), +))
            k = closing + 1
        end
    end
    return Lux.Chain((; (Symbol(:layer_, i) => layer for (i, layer) in enumerate(layers))...))
end

function lux_layer(layer)
    activation = lux_activation(layer.activation, layer.constants)
    if layer.kind === :dense && layer.time >= 0
        return TimeDense(layer.inputs, layer.outputs, layer.bias >= 0, activation)
    elseif layer.kind === :dense
        return Lux.Dense(layer.inputs => layer.outputs, activation; use_bias = layer.bias >= 0)
    elseif layer.kind === :layernorm
        affine = layer.weight >= 0 || layer.bias >= 0
        return Lux.LayerNorm((layer.outputs,); dims = 1, epsilon = layer.epsilon, affine)
    end
    return Lux.WrappedFunction(Base.Broadcast.BroadcastFunction(activation))
end

"""
    TimeDense(inputs, outputs, has_bias, activation)

A Lux layer over the features and time, activation(weight x + time_weight t + bias), with t in its state.
"""
struct TimeDense{F} <: Lux.AbstractLuxLayer
    inputs::Int
    outputs::Int
    has_bias::Bool
    activation::F
end

function Lux.initialparameters(rng::Lux.AbstractRNG, layer::TimeDense)
    weight, time_weight = Lux.glorot_uniform(rng, layer.outputs, layer.inputs), zeros(Float32, layer.outputs)
    return layer.has_bias ? (; weight, time_weight, bias = zeros(Float32, layer.outputs)) : (; weight, time_weight)
end

Lux.initialstates(::Lux.AbstractRNG, ::TimeDense) = (; t = 0.0f0)

function (layer::TimeDense)(x, parameters, state)
    y = parameters.weight * x .+ parameters.time_weight .* state.t
    return layer.activation.(layer.has_bias ? y .+ parameters.bias : y), state
end

"""
    lux_states(model, t)

The states of a model of `lux_model` at time t.
"""
lux_states(model, t) = with_time(Lux.initialstates(Lux.Random.default_rng(), model), t)

with_time(state::NamedTuple, t) = haskey(state, :t) ? merge(state, (; t)) : map(inner -> with_time(inner, t), state)
with_time(state, t) = state

"""
    lux_parameters(field::NetworkField, p)

The parameters of `lux_model(field)`, a nested named tuple of arrays, from the flat vector `p`.
"""
lux_parameters(field::NetworkField, p) = lux_chain_parameters(field, p, 1, length(field.layers))

function lux_chain_parameters(field, p, first, last)
    parameters, k = Any[], first
    while k <= last
        closing = closing_sum(field, k, last)
        if closing == 0
            push!(parameters, lux_layer_parameters(field.layers[k], p))
            k += 1
        else
            push!(parameters, lux_chain_parameters(field, p, k, closing - 1))
            k = closing + 1
        end
    end
    return (; (Symbol(:layer_, i) => tensors for (i, tensors) in enumerate(parameters))...)
end

function lux_layer_parameters(layer, p)
    bias() = Array(bias_of(layer, p))
    if layer.kind === :dense
        tensors = (; weight = permutedims(weight_of(layer, p)))
        layer.time >= 0 && (tensors = merge(tensors, (; time_weight = Array(time_weight_of(layer, p)))))
        return layer.bias >= 0 ? merge(tensors, (; bias = bias())) : tensors
    elseif layer.kind === :layernorm && (layer.weight >= 0 || layer.bias >= 0)
        scale = layer.weight >= 0 ? Array(entries(p, layer.weight, layer.outputs, 1)) : fill!(similar(p, layer.outputs), true)
        shift = layer.bias >= 0 ? bias() : fill!(similar(p, layer.outputs), false)
        return (; bias = reshape(shift, :, 1), scale = reshape(scale, :, 1))
    end
    return (;)
end

"The function of NNlib or Base with the same values."
function lux_activation(name, constants)
    haskey(LUX_ACTIVATIONS, name) && return LUX_ACTIVATIONS[name]
    first, second = constants
    name === :leaky_relu && return x -> NNlib.leakyrelu(x, first)
    name === :elu && return x -> NNlib.elu(x, first)
    name === :softplus && return x -> first * x > second ? x : oftype(x, NNlib.softplus(first * x) / first)
    return x -> x^Int(first)
end

const LUX_ACTIVATIONS = (
    identity = identity, tanh = tanh, sigmoid = NNlib.sigmoid, relu = NNlib.relu, selu = NNlib.selu,
    softsign = NNlib.softsign, silu = NNlib.swish, gelu = NNlib.gelu_erf, gelu_tanh = NNlib.gelu_tanh, sin = sin, cos = cos,
)
