# The operations of a network in memory of the host: no allocation, loops that compile to vector instructions.

"""
    Block(pointer, rows, columns, leading)

A matrix in memory that someone else keeps alive, its columns `leading` numbers apart. Unlike a view it costs nothing to make.
"""
struct Block{T} <: AbstractMatrix{T}
    pointer::Ptr{T}
    rows::Int
    columns::Int
    leading::Int
end

Block(x::StridedArray, rows, columns) = Block(pointer(x), rows, columns, rows)
Block(x::StridedVector) = Block(x, length(x), 1)
Block(x::StridedMatrix) = Block(x, size(x)...)

Base.size(block::Block) = (block.rows, block.columns)
Base.strides(block::Block) = (1, max(block.leading, 1))
Base.stride(block::Block, axis::Integer) = axis == 1 ? 1 : max(block.leading, 1)
Base.elsize(::Type{Block{T}}) where {T} = sizeof(T)
Base.unsafe_convert(::Type{Ptr{T}}, block::Block{T}) where {T} = block.pointer
Base.@propagate_inbounds Base.getindex(block::Block, i::Int, j::Int) =
    unsafe_load(block.pointer, i + (j - 1) * block.leading)
Base.@propagate_inbounds Base.setindex!(block::Block, x, i::Int, j::Int) =
    unsafe_store!(block.pointer, x, i + (j - 1) * block.leading)
Base.@propagate_inbounds Base.getindex(block::Block, i::Int) = unsafe_load(block.pointer, i)  # without gaps
Base.@propagate_inbounds Base.setindex!(block::Block, x, i::Int) = unsafe_store!(block.pointer, x, i)

"The matrix that begins after `offset` numbers of the vector `p`."
part(p::Block, offset, rows, columns, leading) =
    Block(p.pointer + offset * sizeof(eltype(p)), rows, columns, leading)

"`count` numbers of the vector `p`, `step` apart, after the first `offset`; as a row."
entries(p::Block, offset, count, step) = Block(p.pointer + offset * sizeof(eltype(p)), 1, count, step)

"A matrix of the workspace in the form that the other arguments have."
like(::Block, x) = Block(x)

"The first column of a block as a vector; BLAS wants one."
struct Column{T} <: AbstractVector{T}
    pointer::Ptr{T}
    rows::Int
end

column(block::Block) = Column(block.pointer, block.rows)
Base.size(column::Column) = (column.rows,)
Base.strides(::Column) = (1,)
Base.stride(::Column, axis::Integer) = 1
Base.elsize(::Type{Column{T}}) where {T} = sizeof(T)
Base.unsafe_convert(::Type{Ptr{T}}, column::Column{T}) where {T} = column.pointer
Base.pointer(column::Column) = column.pointer
Base.getindex(column::Column, i::Int) = unsafe_load(column.pointer, i)

same_memory(a::Block, b::Block) = a.pointer == b.pointer

is_host(w::NetworkWorkspace{Matrix{T}}, arrays...) where {T <: Quick} = all_on_host(T, arrays...)
is_host(w, arrays...) = false

all_on_host(T) = true
all_on_host(T, first, rest...) = on_host(T, first) && all_on_host(T, rest...)
on_host(::Type{T}, ::Array{T}) where {T} = true
on_host(T, x::Union{SubArray, Base.ReshapedArray}) =
    eltype(x) === T && x isa StridedArray && is_array(parent(x)) && strides(x) == Base.size_to_strides(1, size(x)...)
on_host(T, x) = false
is_array(::Array) = true
is_array(x::Union{SubArray, Base.ReshapedArray}) = is_array(parent(x))
is_array(x) = false

# --- vectors, one number per feature; a time weight may lie in a matrix, as a row of it

fill_zero!(x::Block) = (@inbounds @simd for i in eachindex_of(x); x[i] = zero(eltype(x)); end; nothing)
eachindex_of(x::Block) = 1:(x.rows * x.columns)

"x and y of n numbers, either a column or a row: y += factor x."
function add_scaled!(y::Block{T}, x::Block{T}, factor) where {T}
    a, b = step_of(y), step_of(x)
    if a == b == 1
        @inbounds @simd ivdep for i in eachindex_of(y)
            y[i] = muladd(x[i], factor, y[i])
        end
    else
        @inbounds for i in 0:(length(y) - 1)
            y[1 + a * i] = muladd(x[1 + b * i], factor, y[1 + a * i])
        end
    end
    return nothing
end

step_of(x::Block) = x.columns == 1 ? 1 : x.leading

function inner_product(x::Block{T}, y::Block{T}) where {T}
    a, b, total = step_of(x), step_of(y), zero(T)
    @inbounds for i in 0:(length(x) - 1)
        total = muladd(x[1 + a * i], y[1 + b * i], total)
    end
    return total
end

"sums[i] = the sum of row i."
function sum_over_samples!(sums::Block, x::Block)
    fill_zero!(sums)
    @inbounds for j in 1:x.columns
        @simd ivdep for i in 1:x.rows
            sums[i] += x[i, j]
        end
    end
    return nothing
end

# --- elementwise

# ivdep: the same place is read and written in the same turn of the loop, if at all.

"y = f(y + shift), each column."
@inline function activate!(f::F, y::Block, shift::Block, has_shift) where {F}
    has_shift || return f isa Identity ? nothing : map_to!(f, y, y)
    @inbounds for j in 1:y.columns
        @simd ivdep for i in 1:y.rows
            y[i, j] = f(y[i, j] + shift[i])
        end
    end
    return nothing
end

"y = f(z + shift), each column, leaving in `z` what the slope needs."
@inline function activate_and_keep!(f::F, y::Block{T}, z::Block{T}, shift::Block{T}, has_shift) where {F, T}
    has_shift || fill_zero!(shift)
    @inbounds for j in 1:y.columns
        @simd ivdep for i in 1:y.rows
            x = z[i, j] + shift[i]
            value = f(x)
            y[i, j] = value
            z[i, j] = keeps_input(f) ? x : value
        end
    end
    return nothing
end

"δ = g times the slope."
@inline function weigh!(f::F, δ::Block, g::Block, kept::Block) where {F}
    @inbounds @simd ivdep for i in eachindex_of(δ)
        δ[i] = g[i] * slope(f, kept[i])
    end
    return nothing
end

"y = f(x)."
@inline function map_to!(f::F, y::Block, x::Block) where {F}
    @inbounds @simd ivdep for i in eachindex_of(y)
        y[i] = f(x[i])
    end
    return nothing
end

"gx = g times the slope at x, or added to gx."
@inline function map_pullback!(f::F, gx::Block, g::Block, x::Block, adds) where {F}
    if adds
        @inbounds @simd ivdep for i in eachindex_of(gx)
            gx[i] = muladd(g[i], slope_at(f, x[i]), gx[i])
        end
    else
        @inbounds @simd ivdep for i in eachindex_of(gx)
            gx[i] = g[i] * slope_at(f, x[i])
        end
    end
    return nothing
end

"y = a + b."
function add_to!(y::Block, a::Block, b::Block)
    @inbounds @simd ivdep for i in eachindex_of(y)
        y[i] = a[i] + b[i]
    end
    return nothing
end

"gx = g, or gx += g if `adds`."
function pass_to!(gx::Block, g::Block, adds)
    adds && return add_to!(gx, gx, g)
    return map_to!(Identity(), gx, g)
end

# --- layer norm

"y = weight (x - mean) / sqrt(variance + epsilon) + bias over each column; the normalized column and 1/sqrt are kept."
function normalize!(layer, y::Block{T}, normalized::Block{T}, scales::Block{T}, x::Block{T}, p::Block{T}) where {T}
    n = T(layer.outputs)
    weight, bias = entries(p, layer.weight, layer.outputs, 1), entries(p, layer.bias, layer.outputs, 1)
    @inbounds for j in 1:y.columns
        mean = zero(T)
        @simd for i in 1:y.rows
            mean += x[i, j]
        end
        mean /= n
        variance = zero(T)
        @simd for i in 1:y.rows
            variance += (x[i, j] - mean)^2
        end
        scale = inv(sqrt(variance / n + T(layer.epsilon)))
        scales[j] = scale
        @simd ivdep for i in 1:y.rows
            normalized[i, j] = (x[i, j] - mean) * scale
        end
        @simd ivdep for i in 1:y.rows
            y[i, j] = normalized[i, j]
        end
        if layer.weight >= 0
            @simd ivdep for i in 1:y.rows
                y[i, j] *= weight[i]
            end
        end
        if layer.bias >= 0
            @simd ivdep for i in 1:y.rows
                y[i, j] += bias[i]
            end
        end
    end
    return nothing
end

function normalize_pullback!(layer, gx::Block{T}, gp, g::Block{T}, normalized::Block{T}, scales::Block{T}, p::Block{T}, sums::Block{T}) where {T}
    n = T(layer.outputs)
    weight = entries(p, layer.weight, layer.outputs, 1)
    has_weight = layer.weight >= 0
    @inbounds for j in 1:g.columns
        mean, projection = zero(T), zero(T)
        @simd for i in 1:g.rows
            weighted = has_weight ? g[i, j] * weight[i] : g[i, j]
            mean += weighted
            projection = muladd(weighted, normalized[i, j], projection)
        end
        mean /= n
        projection /= n
        @simd ivdep for i in 1:g.rows
            weighted = has_weight ? g[i, j] * weight[i] : g[i, j]
            part_of_x = scales[j] * (weighted - mean - normalized[i, j] * projection)
            gx[i, j] = layer.adds_to_source ? gx[i, j] + part_of_x : part_of_x
        end
    end
    isnothing(gp) && return nothing
    if has_weight
        fill_zero!(sums)
        @inbounds for j in 1:g.columns
            @simd ivdep for i in 1:g.rows
                sums[i] = muladd(g[i, j], normalized[i, j], sums[i])
            end
        end
        add_scaled!(entries(gp, layer.weight, layer.outputs, 1), sums, one(T))
    end
    if layer.bias >= 0
        sum_over_samples!(sums, g)
        add_scaled!(entries(gp, layer.bias, layer.outputs, 1), sums, one(T))
    end
    return nothing
end
