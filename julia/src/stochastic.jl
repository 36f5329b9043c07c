# Stochastic equations: their parts, as far as they need no solver. The solvers of StochasticDiffEq take seconds to load,
# so they are in an extension, which is loaded when the first stochastic method is asked for.

"""
    solve_stochastic(drift, diffusion, u0, tspan; path, algorithm, abstol, reltol, options...) -> NamedTuple

Solve du = f(u, p, t) dt + g(u, p, t) dW along a path of the Brownian motion, and keep what the solver knew about every
accepted step.

# Arguments
- `drift`: a `Bound` field; `diffusion`: a `Bound` field, or a `GeneralDiffusion`, then `u0` is a vector.
- `u0`, `tspan`: as for `solve`, but time runs forwards.
- `path`: called as `path(dW, dZ, s, t)`, writes the increment of the Brownian motion from `s` to `t > s` into `dW`, and
  its normalised area into `dZ`, independent of dW and of the same variance: the integral of W - W(s) from s to t is
  (t - s) (dW + dZ/√3) / 2. Both have the shape of `u0`, or are vectors with one element for each noise.
- `algorithm`: of StochasticDiffEq, see `stochastic_algorithm`.
- `estimates`: whether its error estimates are asked for; without them it takes steps of length `dt`.
- `interpretation`: "ito" or "stratonovich"; nothing where both are the same.
- the others: as for `solve`.

# Returns
What `solve` returns, and `diffusion_evaluations`.
"""
function solve_stochastic end

"""
    stochastic_algorithm(name; options...)

The algorithm of StochasticDiffEq of that name: a lower-case name that every engine knows, or as StochasticDiffEq spells it
("SKenCarp", "LambaEM"). `options` are its keyword arguments; `interpretation` may be "ito" or "stratonovich".

# Errors
`ArgumentError` if there is none, it does not take the options, or the project lacks StochasticDiffEq.
"""
function stochastic_algorithm(name::AbstractString; options...)
    load_stochastic()
    return Base.invokelatest(find_stochastic_algorithm, String(name), options)
end

"Look up a stochastic algorithm; the extension has the method."
function find_stochastic_algorithm end

"Whether a stochastic algorithm has an error estimate; the extension has the method."
function has_stochastic_estimate end

"Load StochasticDiffEq, and the extension with it."
function load_stochastic()
    package = Base.identify_package("StochasticDiffEq")
    isnothing(package) && throw(ArgumentError(
        "the active Julia project has no package StochasticDiffEq, which stochastic equations need; add it to the project"
    ))
    Base.require(package)
    return nothing
end

"""
    Bound(field, p, shape)

A field with its own parameters, on states that it sees in one shape, whatever the shape in which a solver keeps them.
"""
struct Bound{F <: Field, P, D} <: Field
    field::F
    p::P
    shape::D
end

is_generic(bound::Bound) = is_generic(bound.field)
workspace(bound::Bound, u) = workspace(bound.field, reshape(u, bound.shape))
forward_workspace(bound::Bound, u) = forward_workspace(bound.field, reshape(u, bound.shape))
evaluate!(bound::Bound, du, u, p, t, w) = evaluate!(
    bound.field, reshape(du, bound.shape), reshape(u, bound.shape), bound.p, own_time(eltype(bound.p), t), w
)

# Stochastic solves keep time in double precision, a path being asked at many times; fields see that of their parameters.
own_time(::Type{T}, t::Float64) where {T <: AbstractFloat} = T(t)
own_time(::Type, t) = t

"""
    GeneralDiffusion(field, prototype)

The diffusion of a state of several samples, each of them with noises of its own: a matrix that maps all noises to the
whole state, with one block for each sample.

`field` is a callback that writes into `values`, of shape (noises, features, samples); the matrix is dense for one sample
and sparse for more, see `noise_matrix`.
"""
struct GeneralDiffusion{F <: CallbackField, A <: AbstractArray} <: Field
    field::F
    values::A
end

GeneralDiffusion(field::CallbackField, ::Type{T}, noises, features, samples) where {T} =
    GeneralDiffusion(field, zeros(T, noises, features, samples))

"A matrix of the kind that a general diffusion fills. Shape (features * samples, noises * samples)."
function noise_matrix(diffusion::GeneralDiffusion)
    noises, features, samples = size(diffusion.values)
    T = eltype(diffusion.values)
    samples == 1 && return zeros(T, features, noises)
    columns = noises * samples
    rows = [((j - 1) ÷ noises) * features + i for j in 1:columns for i in 1:features]
    return SparseMatrixCSC(features * samples, columns, collect(1:features:(features * columns + 1)), rows, zeros(T, features * columns))
end

function evaluate!(diffusion::GeneralDiffusion, matrix::Matrix, u, p, t, w)
    evaluate!(diffusion.field, diffusion.values, u, p, t, w)
    transpose!(matrix, reshape(diffusion.values, size(matrix, 2), size(matrix, 1)))
    return nothing
end

function evaluate!(diffusion::GeneralDiffusion, matrix::SparseMatrixCSC, u, p, t, w)
    evaluate!(diffusion.field, diffusion.values, u, p, t, w)
    # A solver may have made the matrix without its pattern.
    nnz(matrix) == length(diffusion.values) || copy!(matrix, noise_matrix(diffusion))
    # Its elements lie column by column: (features, noises, samples).
    noises, features, samples = size(diffusion.values)
    permutedims!(reshape(nonzeros(matrix), features, noises, samples), diffusion.values, (2, 1, 3))
    return nothing
end

"""
    CallbackPath(increments, token)

A path in another language, as a C function that returns 0, or another number on failure:

    int increments(int64 token, double s, double t, T *dW, T *dZ)
"""
struct CallbackPath
    increments::Ptr{Cvoid}
    token::Int64
end

function (path::CallbackPath)(dW, dZ, s, t)
    GC.@preserve dW dZ begin
        status = @ccall $(path.increments)(
            path.token::Int64, s::Float64, t::Float64, pointer(dW)::Ptr{Cvoid}, pointer(dZ)::Ptr{Cvoid}
        )::Cint
    end
    status == 0 || throw(CallbackFailed())
    return nothing
end
