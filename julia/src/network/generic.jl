# The operations of a network on arrays of any kind: in place by broadcasts and products for another device's arrays,
# out of place for dual and traced numbers.

import Zygote

like(::AbstractVector, x) = x
same_memory(a, b) = a === b

part(p::AbstractVector, offset, rows, columns, leading) =
    leading == rows ? reshape(view(p, (offset + 1):(offset + rows * columns)), rows, columns) :
    view(reshape(view(p, (offset + 1):(offset + leading * columns)), leading, columns), 1:rows, :)
entries(p::AbstractVector, offset, count, step) =
    step == 1 ? view(p, (offset + 1):(offset + count)) : view(p, (offset + 1):step:(offset + 1 + (count - 1) * step))

multiply_transposed!(C, A, B) = (mul!(C, transpose(A), B); nothing)
multiply!(C, A, B, adds) = (mul!(C, A, B, true, adds); nothing)
add_outer!(C, A, B) = (mul!(C, A, transpose(B), true, true); nothing)

fill_zero!(x) = (fill!(x, zero(eltype(x))); nothing)
add_scaled!(y, x, factor) = (y .+= x .* convert(eltype(y), factor); nothing)
inner_product(x, y) = sum(x .* y)
sum_over_samples!(sums, x) = (sum!(sums, x); nothing)

activate!(f, y, shift, has_shift) = (has_shift ? (y .= f.(y .+ shift)) : (y .= f.(y)); nothing)
function activate_and_keep!(f, y, z, shift, has_shift)
    has_shift && (z .+= shift)
    y .= f.(z)
    keeps_input(f) || copyto!(z, y)
    return nothing
end
weigh!(f, δ, g, kept) = (δ .= g .* slope.(f, kept); nothing)
map_to!(f, y, x) = (y .= f.(x); nothing)
map_pullback!(f, gx, g, x, adds) =
    (adds ? (gx .+= g .* slope_at.(f, x)) : (gx .= g .* slope_at.(f, x)); nothing)
add_to!(y, a, b) = (y .= a .+ b; nothing)
pass_to!(gx, g, adds) = (adds ? (gx .+= g) : (gx .= g); nothing)

function normalize!(layer, y, normalized, scales, x, p)
    normalized .= x .- sum(x; dims = 1) ./ layer.outputs
    scales .= inv.(sqrt.(sum(abs2, normalized; dims = 1) ./ layer.outputs .+ eltype(scales)(layer.epsilon)))
    normalized .*= scales
    y .= normalized
    layer.weight >= 0 && (y .*= entries(p, layer.weight, layer.outputs, 1))
    layer.bias >= 0 && (y .+= bias_of(layer, p))
    return nothing
end

function normalize_pullback!(layer, gx, gp, g, normalized, scales, p, sums)
    weighted = layer.weight >= 0 ? g .* entries(p, layer.weight, layer.outputs, 1) : g
    mean = sum(weighted; dims = 1) ./ layer.outputs
    projection = sum(weighted .* normalized; dims = 1) ./ layer.outputs
    pass_to!(gx, scales .* (weighted .- mean .- normalized .* projection), layer.adds_to_source)
    isnothing(gp) && return nothing
    layer.weight >= 0 && add_scaled!(entries(gp, layer.weight, layer.outputs, 1), vec(sum(g .* normalized; dims = 2)), true)
    layer.bias >= 0 && add_scaled!(bias_of(layer, gp), vec(sum(g; dims = 2)), true)
    return nothing
end

# --- out of place

"""
    evaluate(field::NetworkField, u, p, t)

The slope as a new array: no mutation and no workspace, so that any tool of automatic differentiation goes through it.
"""
function evaluate(field::NetworkField, u, p, t)
    batch = samples(field, u)
    check_parameters(field, p)
    y = apply_layers(field, reshape(u, field.size, batch), p, t, 1, length(field.layers))
    return reshape(y, size(u))
end

"Layers `first` to `last`, x being the input of the first."
function apply_layers(field, x, p, t, first, last)
    k = first
    while k <= last
        closing = closing_sum(field, k, last)
        if closing == 0
            x = apply(field.layers[k], x, p, t)
            k += 1
        else
            x = x .+ apply_layers(field, x, p, t, k, closing - 1)
            k = closing + 1
        end
    end
    return x
end

"The last sum, up to layer `last`, whose residual begins with layer k; 0 if none does."
function closing_sum(field, k, last)
    for closing in last:-1:k
        layer = field.layers[closing]
        layer.kind === :sum && layer.skip == k - 1 && return closing
    end
    return 0
end

function apply(layer, x, p, t)
    layer.kind === :dense && return apply_dense(layer, x, p, t)
    layer.kind === :layernorm && return apply_layernorm(layer, x, p)
    return apply_activation(layer, x)
end

apply_activation(layer, x) = with_activation(layer.activation, layer.constants, real_type(x)) do f
    f isa Identity ? x : map_all(f, x)
end

map_all(f, x) = f.(x)

# Zygote does not see through the bit patterns of the quick functions.
Zygote.@adjoint map_all(f, x) = map_all(f, x), g -> (nothing, g .* slope_at.(f, x))

# Of the numbers that dual and traced ones stand for; constants are converted to it.
real_type(x) = float_type(eltype(x))
float_type(::Type{T}) where {T <: AbstractFloat} = T
float_type(::Type{T}) where {T <: Real} = Float64

function apply_dense(layer, x, p, t)
    y = transpose(copied_weight(layer, p)) * x
    if layer.bias >= 0
        y = y .+ copied_entries(p, layer.bias, layer.outputs, 1)
    end
    if layer.time >= 0
        y = y .+ copied_entries(p, layer.time, layer.outputs, layer.time_stride) .* as_number_of(x, t)
    end
    return apply_activation(layer, y)
end

# Copies, because not every tool differentiates through views.
function copied_weight(layer, p)
    columns = reshape(copied_entries(p, layer.weight, layer.leading * layer.outputs, 1), layer.leading, layer.outputs)
    return layer.leading == layer.inputs ? columns : columns[1:(layer.inputs), :]
end

copied_entries(p, offset, count, step) = p[(offset + 1):step:(offset + 1 + (count - 1) * step)]

# Julia's times are Float64, which would turn a Float32 state into Float64.
as_number_of(x, t::AbstractFloat) = convert(real_type(x), t)
as_number_of(x, t) = t

function apply_layernorm(layer, x, p)
    centred = x .- sum(x; dims = 1) ./ layer.outputs
    y = centred ./ sqrt.(sum(centred .* centred; dims = 1) ./ layer.outputs .+ real_type(x)(layer.epsilon))
    if layer.weight >= 0
        y = y .* copied_entries(p, layer.weight, layer.outputs, 1)
    end
    if layer.bias >= 0
        y = y .+ copied_entries(p, layer.bias, layer.outputs, 1)
    end
    return y
end
