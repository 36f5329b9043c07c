# Networks of PyTorch's layers, evaluated in place on a flat parameter vector in PyTorch's memory order.

import SpecialFunctions
using LinearAlgebra: BLAS
using SpecialFunctions: erfc

include("network/activations.jl")

"""
    Layer

One instruction of a network. Its output is value number k if it is the kth layer; value 0 is the state.

- `kind`: `:dense` (act(W y + b + w t)), `:elementwise`, `:layernorm` or `:sum` (of two values).
- `inputs`, `outputs`: sizes of the first axis.
- `weight, bias, time`: how many numbers of the parameter vector precede these tensors; -1 for one that is not there.
- `leading`: distance between two columns of the (inputs, outputs) weight; `time_stride`: between two time weights.
- `activation`, `constants`: name and constants of the activation; `epsilon`: of a layer norm.
- `source`, `skip`: the values that it reads; only a sum has a `skip`.
- `adds_to_source`, `adds_to_skip`: whether a later layer has written the cotangent of that value already, in the
  order of the pullback.
"""
Base.@kwdef struct Layer
    kind::Symbol
    inputs::Int
    outputs::Int
    weight::Int = -1
    bias::Int = -1
    time::Int = -1
    leading::Int = inputs
    time_stride::Int = 1
    activation::Symbol = :identity
    constants::NTuple{2, Float64} = (0.0, 0.0)
    epsilon::Float64 = 0.0
    source::Int
    skip::Int = -1
    adds_to_source::Bool = false
    adds_to_skip::Bool = false
end

"""
    NetworkField(description)

A network as right-hand side, `description` being its layers in order, one line each:

    field size=2 parameters=252
    dense inputs=2 outputs=50 weight=0 bias=100 time=150 activation=tanh
    residual
    layernorm size=50 epsilon=1e-5 weight=200 bias=250
    elementwise activation=leaky_relu:0.01
    end

`weight`, `bias` and `time` (the weights of time) count the numbers before the tensor in the parameter vector, which
holds each tensor in row-major order, and only `weight` of a dense layer is obligatory. `time=last` says that time is
the last input of the weight, which then is (outputs, inputs + 1). What stands between `residual` and its `end` is
summed with its input. Every network has this one type, so that none of them is compiled anew.

Throws an `ArgumentError` if a line cannot be read, sizes do not follow each other, or a tensor reaches beyond the parameters.
"""
struct NetworkField <: Field
    size::Int
    parameters::Int
    layers::Vector{Layer}
end

is_generic(::NetworkField) = true

"""
    NetworkWorkspace

What the layers leave for their pullback: `values[k]` is the output of layer k (of the last only what its pullback
reads, the output itself goes to the caller), `kept[k]` what its slope is computed from (input or output of its
activation; for a layer norm, the normalized input), `scales` the factors of the layer norms (1, batch), and
`cotangents[k]` receives the cotangent of value k, `sums[k]` a number per output. Matrices are (features, batch).
"""
struct NetworkWorkspace{M <: AbstractMatrix, V <: AbstractVector}
    values::Vector{M}
    kept::Vector{M}
    scales::Vector{M}
    cotangents::Vector{M}
    sums::Vector{V}
    batch::Int
end

function workspace(field::NetworkField, u)
    batch = samples(field, u)
    matrix(rows, columns = batch) = fill!(similar(u, rows, columns), zero(eltype(u)))
    empty, last = matrix(0, 0), length(field.layers)
    values, kept, scales, cotangents = ntuple(_ -> typeof(empty)[], 4)
    sums = typeof(similar(u, 0))[]
    for (k, layer) in enumerate(field.layers)
        push!(values, k < last ? matrix(layer.outputs) : empty)
        push!(kept, kept_by(layer, k < last, values[k], () -> matrix(layer.outputs), empty))
        push!(scales, layer.kind === :layernorm ? matrix(1) : empty)
        push!(cotangents, k < last || layer.activation !== :identity ? matrix(layer.outputs) : empty)
        push!(sums, fill!(similar(u, layer.outputs), zero(eltype(u))))
    end
    return NetworkWorkspace(values, kept, scales, cotangents, sums, batch)
end

function kept_by(layer, is_inner, value, another, empty)
    layer.kind === :layernorm && return another()
    layer.kind === :dense && layer.activation !== :identity || return empty
    input = with_activation(keeps_input, layer.activation, layer.constants, Float64)
    return is_inner && !input ? value : another()
end

"Number of samples of a state, the product of all its axes but the first."
function samples(field::NetworkField, u)
    size(u, 1) == field.size ||
        throw(DimensionMismatch("the state has $(size(u, 1)) features; this network takes $(field.size)"))
    return length(u) ÷ field.size
end

function evaluate!(field::NetworkField, du, u, p, t, w)
    batch = samples(field, u)
    length(du) == length(u) || throw(DimensionMismatch("du has $(length(du)) numbers; the state has $(length(u))"))
    check_parameters(field, p)
    if !fits(w, u, p, t)  # dual numbers in some of them, say
        copyto!(du, evaluate(field, u, p, t))
        return nothing
    end
    check_workspace(w, batch)
    if is_host(w, du, u, p)
        GC.@preserve w du u p begin
            forward!(field, Block(du, field.size, batch), Block(u, field.size, batch), Block(p), eltype(u)(t), w)
        end
    else
        forward!(field, reshape(du, field.size, batch), reshape(u, field.size, batch), p, t, w)
    end
    return nothing
end

function pullback!(field::NetworkField, gu, gp, λ, u, p, t, w)
    batch = samples(field, u)
    length(gu) == length(λ) == length(u) ||
        throw(DimensionMismatch("cotangents have $(length(gu)) and $(length(λ)) numbers; the state has $(length(u))"))
    check_parameters(field, p)
    isnothing(gp) || check_parameters(field, gp)
    check_workspace(w, batch)
    if is_host(w, gu, λ, u, p) && (isnothing(gp) || is_host(w, gp))
        GC.@preserve w gu gp λ u p begin
            return backward!(
                field, Block(gu, field.size, batch), isnothing(gp) ? nothing : Block(gp),
                Block(λ, field.size, batch), Block(u, field.size, batch), Block(p), eltype(u)(t), w,
            )
        end
    end
    return backward!(
        field, reshape(gu, field.size, batch), gp, reshape(λ, field.size, batch), reshape(u, field.size, batch), p, t, w
    )
end

check_parameters(field, p) = length(p) == field.parameters || throw(
    DimensionMismatch("the parameter vector has $(length(p)) numbers; this network has $(field.parameters)")
)

check_workspace(w, batch) = w.batch == batch ||
    throw(DimensionMismatch("the workspace is for $(w.batch) samples; the state has $batch"))

"Whether the workspace can hold what these numbers give."
fits(::Nothing, u, p, t) = false
fits(::NetworkWorkspace{M}, u, p, t) where {M} =
    promote_type(eltype(u), eltype(p), t isa AbstractFloat ? eltype(u) : typeof(t)) == eltype(M)

# --- all layers, forwards and backwards, on arrays of the host or of another device

function forward!(field, du, u, p, t, w)
    last = length(field.layers)
    value(k) = k == 0 ? u : k == last ? du : like(p, w.values[k])
    for k in 1:last
        layer = field.layers[k]
        y, x = value(k), value(layer.source)
        if layer.kind === :dense
            dense!(layer, y, like(p, w.kept[k]), x, p, t, like(p, w.sums[k]))
        elseif layer.kind === :elementwise
            with_activation(layer.activation, layer.constants, eltype(y)) do f
                map_to!(f, y, x)
            end
        elseif layer.kind === :layernorm
            normalize!(layer, y, like(p, w.kept[k]), like(p, w.scales[k]), x, p)
        else
            add_to!(y, x, value(layer.skip))
        end
    end
    return nothing
end

function backward!(field, gu, gp, λ, u, p, t, w)
    last = length(field.layers)
    value(k) = k == 0 ? u : like(p, w.values[k])
    cotangent(k) = k == 0 ? gu : k == last ? λ : like(p, w.cotangents[k])
    gt = zero(eltype(gu))
    for k in last:-1:1
        layer = field.layers[k]
        g, gx = cotangent(k), cotangent(layer.source)
        if layer.kind === :dense
            δ = k == last && layer.activation !== :identity ? like(p, w.cotangents[k]) : g
            gt += dense_pullback!(layer, gx, gp, δ, g, like(p, w.kept[k]), value(layer.source), p, t, like(p, w.sums[k]))
        elseif layer.kind === :elementwise
            with_activation(layer.activation, layer.constants, eltype(g)) do f
                map_pullback!(f, gx, g, value(layer.source), layer.adds_to_source)
            end
        elseif layer.kind === :layernorm
            normalize_pullback!(layer, gx, gp, g, like(p, w.kept[k]), like(p, w.scales[k]), p, like(p, w.sums[k]))
        else
            pass_to!(gx, g, layer.adds_to_source)
            pass_to!(cotangent(layer.skip), g, layer.adds_to_skip)
        end
    end
    return gt
end

"y = act(W x + b + w t), in `y`; what the slope needs, in `kept`."
function dense!(layer, y, kept, x, p, t, shift)
    has_shift = total_shift!(shift, layer, p, t)
    W = weight_of(layer, p)
    with_activation(layer.activation, layer.constants, eltype(y)) do f
        z = f isa Identity || same_memory(kept, y) ? y : kept
        multiply_transposed!(z, W, x)
        if same_memory(z, y)
            activate!(f, y, shift, has_shift)
        else
            activate_and_keep!(f, y, z, shift, has_shift)
        end
    end
    return nothing
end

"Cotangent of the input into `gx`, of the parameters onto `gp`; returns that of time. `δ` receives that of W x + b + w t."
function dense_pullback!(layer, gx, gp, δ, g, kept, x, p, t, sums)
    needs_sums = layer.time >= 0 || (!isnothing(gp) && layer.bias >= 0)
    with_activation(layer.activation, layer.constants, eltype(g)) do f
        f isa Identity ? nothing : weigh!(f, δ, g, kept)
    end
    needs_sums && sum_over_samples!(sums, δ)
    multiply!(gx, weight_of(layer, p), δ, layer.adds_to_source)
    if !isnothing(gp)
        add_outer!(weight_of(layer, gp), x, δ)
        layer.bias >= 0 && add_scaled!(bias_of(layer, gp), sums, one(eltype(g)))
        layer.time >= 0 && add_scaled!(time_weight_of(layer, gp), sums, t)
    end
    return layer.time >= 0 ? inner_product(time_weight_of(layer, p), sums) : zero(eltype(g))
end

weight_of(layer, p) = part(p, layer.weight, layer.inputs, layer.outputs, layer.leading)
bias_of(layer, p) = entries(p, layer.bias, layer.outputs, 1)
time_weight_of(layer, p) = entries(p, layer.time, layer.outputs, layer.time_stride)

"b + w t into `shift`; returns whether there is any."
function total_shift!(shift, layer, p, t)
    has_shift = layer.bias >= 0 || layer.time >= 0
    has_shift && fill_zero!(shift)
    layer.bias >= 0 && add_scaled!(shift, bias_of(layer, p), one(t))
    layer.time >= 0 && add_scaled!(shift, time_weight_of(layer, p), t)
    return has_shift
end

include("network/description.jl")
include("network/arrays.jl")
include("network/products.jl")
include("network/generic.jl")
include("network/lux.jl")

# Every network is of these types, so that none is compiled when it is first used.
for T in (Float32, Float64)
    Workspace = NetworkWorkspace{Matrix{T}, Vector{T}}
    precompile(forward!, (NetworkField, Block{T}, Block{T}, Block{T}, T, Workspace))
    precompile(backward!, (NetworkField, Block{T}, Block{T}, Block{T}, Block{T}, Block{T}, T, Workspace))
    precompile(backward!, (NetworkField, Block{T}, Nothing, Block{T}, Block{T}, Block{T}, T, Workspace))
    for A in (Vector{T}, Matrix{T}, Array{T, 3})
        precompile(workspace, (NetworkField, A))
    end
end
precompile(NetworkField, (Vector{String},))
precompile(NetworkField, (Vector{SubString{String}},))
