# The matrix products of a network, by loops where these cost less than the call of BLAS.

# BLAS takes about 0.3 µs to begin with; a loop takes 0.1 to 0.3 ns per multiplication, or 0.7 where columns are short.
multiplications_by_loop(column) = column < 8 ? 500 : 3000

# A network on a state of a few features has weights with columns this short, which a compiled constant serves best.
const SHORT_COLUMN = 4

"C = Aᵀ B."
function multiply_transposed!(C::Block{T}, A::Block{T}, B::Block{T}) where {T}
    m, n, k = C.rows, C.columns, A.rows
    if k <= SHORT_COLUMN && A.leading == k && m * n * k <= 2000
        k == 1 && return short_multiply_transposed!(C, A, B, Val(1))
        k == 2 && return short_multiply_transposed!(C, A, B, Val(2))
        k == 3 && return short_multiply_transposed!(C, A, B, Val(3))
        return short_multiply_transposed!(C, A, B, Val(4))
    elseif m * n * k <= multiplications_by_loop(k)
        @inbounds for j in 1:n, i in 1:m
            total = zero(T)
            @simd for l in 1:k
                total = muladd(A[l, i], B[l, j], total)
            end
            C[i, j] = total
        end
    elseif n == 1
        BLAS.gemv!('T', one(T), A, column(B), zero(T), column(C))
    else
        BLAS.gemm!('T', 'N', one(T), A, B, zero(T), C)
    end
    return nothing
end

"C = A B, or C += A B if `adds`."
function multiply!(C::Block{T}, A::Block{T}, B::Block{T}, adds) where {T}
    m, n, k = C.rows, C.columns, B.rows
    if m <= SHORT_COLUMN && A.leading == m && m * n * k <= 2000
        m == 1 && return short_multiply!(C, A, B, adds, Val(1))
        m == 2 && return short_multiply!(C, A, B, adds, Val(2))
        m == 3 && return short_multiply!(C, A, B, adds, Val(3))
        return short_multiply!(C, A, B, adds, Val(4))
    elseif m * n * k <= multiplications_by_loop(m)
        adds || fill_zero!(C)
        @inbounds for j in 1:n, l in 1:k
            factor = B[l, j]
            @simd ivdep for i in 1:m
                C[i, j] = muladd(A[i, l], factor, C[i, j])
            end
        end
    elseif n == 1
        BLAS.gemv!('N', one(T), A, column(B), adds ? one(T) : zero(T), column(C))
    else
        BLAS.gemm!('N', 'N', one(T), A, B, adds ? one(T) : zero(T), C)
    end
    return nothing
end

"C += A Bᵀ."
function add_outer!(C::Block{T}, A::Block{T}, B::Block{T}) where {T}
    m, n, k = C.rows, C.columns, A.columns
    if m <= SHORT_COLUMN && C.leading == m && m * n * k <= 2000
        m == 1 && return short_add_outer!(C, A, B, Val(1))
        m == 2 && return short_add_outer!(C, A, B, Val(2))
        m == 3 && return short_add_outer!(C, A, B, Val(3))
        return short_add_outer!(C, A, B, Val(4))
    elseif m * n * k <= multiplications_by_loop(m)
        @inbounds for l in 1:k, j in 1:n
            factor = B[j, l]
            @simd ivdep for i in 1:m
                C[i, j] = muladd(A[i, l], factor, C[i, j])
            end
        end
    else
        BLAS.gemm!('N', 'T', one(T), A, B, one(T), C)
    end
    return nothing
end

# K, a constant, is the number of rows of the weight, which has no gaps between its columns.

function short_multiply_transposed!(C::Block{T}, A::Block{T}, B::Block{T}, ::Val{K}) where {T, K}
    @inbounds for j in 1:C.columns
        factors = ntuple(l -> B[l, j], Val(K))
        @simd ivdep for i in 1:C.rows
            C[i, j] = sum(ntuple(l -> A[l + (i - 1) * K] * factors[l], Val(K)))
        end
    end
    return nothing
end

function short_multiply!(C::Block{T}, A::Block{T}, B::Block{T}, adds, ::Val{K}) where {T, K}
    @inbounds for j in 1:C.columns, i in 1:K
        total = zero(T)
        @simd for l in 1:B.rows
            total = muladd(A[i + (l - 1) * K], B[l, j], total)
        end
        C[i, j] = adds ? C[i, j] + total : total
    end
    return nothing
end

function short_add_outer!(C::Block{T}, A::Block{T}, B::Block{T}, ::Val{K}) where {T, K}
    @inbounds for l in 1:A.columns
        factors = ntuple(i -> A[i, l], Val(K))
        @simd ivdep for j in 1:C.columns
            for i in 1:K
                C[i + (j - 1) * K] = muladd(factors[i], B[j, l], C[i + (j - 1) * K])
            end
        end
    end
    return nothing
end
