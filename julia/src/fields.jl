# Right-hand sides: what a solver evaluates and what an adjoint pulls back through.

import ForwardDiff, ReverseDiff, Zygote

"""
    Field

A right-hand side du/dt = f(u, p, t). A field has these methods; `u`, `du`, `λ`, `gu` share one shape, `p` and `gp` are
vectors.

- `workspace(field, u)`: room for one evaluation, in which it leaves what its pullback needs.
- `evaluate!(field, du, u, p, t, w)`: the slope, into `du`.
- `pullback!(field, gu, gp, λ, u, p, t, w) -> gt`: after `evaluate!` with the same `u, p, t, w`, the vector-Jacobian
  products: overwrites `gu` with λᵀ∂f/∂u, adds λᵀ∂f/∂p to `gp` (or leaves it out, if `gp` is nothing), and returns λᵀ∂f/∂t.
- `evaluate(field, u, p, t)`: the slope out of place, for numbers of any kind, where the field has such a form.
"""
abstract type Field end

workspace(::Field, u) = nothing

"Room for evaluations that are never pulled back."
forward_workspace(field::Field, u) = workspace(field, u)

"Whether a field can be evaluated on numbers other than floating-point ones, such as dual numbers."
is_generic(::Field) = false

"""
    Counted(field, u; remember = false)

A field as the solvers call it, `f(du, u, p, t)`, that counts its evaluations and, if told so, remembers the states and
slopes of the last two.
"""
mutable struct Counted{F <: Field, W, M}
    const field::F
    const workspace::W
    const last::M
    evaluations::Int
end

Counted(field::Field, u; remember = false) =
    Counted(field, forward_workspace(field, u), remember ? ((similar(u), similar(u)), (similar(u), similar(u))) : nothing, 0)

function (counted::Counted)(du, u, p, t)
    counted.evaluations += 1
    evaluate!(counted.field, du, u, p, t, counted.workspace)
    if !isnothing(counted.last)
        slope, state = counted.last[counted.evaluations % 2 + 1]
        copyto!(slope, du); copyto!(state, u)
    end
    return nothing
end

"Slopes and states of the last evaluation and of the one before it: (k_p, k_q, g_p, g_q)."
function stage_pair(counted::Counted)
    (k, g), (l, h) = counted.evaluations % 2 == 0 ? counted.last : reverse(counted.last)
    return k, l, g, h
end

"""
    Interrupted()

Thrown when a solve was asked to stop.
"""
struct Interrupted <: Exception end

Base.showerror(io::IO, ::Interrupted) = print(io, "the solve was interrupted")

# Set from another thread while a solve runs: 1 asks it to stop. The address is the host language's.
const CANCEL_FLAG = Ref{Ptr{Int32}}(C_NULL)

check_cancelled() =
    CANCEL_FLAG[] != C_NULL && unsafe_load(CANCEL_FLAG[]) != 0 ? throw(Interrupted()) : nothing

# --- a field in another language

"""
    CallbackFailed()

Thrown when a field in another language reported failure; that language keeps the reason.
"""
struct CallbackFailed <: Exception end

Base.showerror(io::IO, ::CallbackFailed) = print(io, "the right-hand side failed")

"""
    CallbackField(evaluate, pullback, token)

A right-hand side in another language, as two C functions that return 0, or another number on failure:

    int evaluate(int64 token, double t, const T *u, T *du)
    int pullback(int64 token, double t, const T *u, const T *lambda, T *gu, T *gp, double *gt)

`T` is the element type of the state; `gu` is overwritten, `gp` (may be NULL) added to. Parameters live on the other side:
`p` has their number of elements but its values are not read. The upper half of a token is 0, or the number of a workspace:
then the other side may keep what the pullback of this evaluation, which comes with the same token, needs.
"""
struct CallbackField <: Field
    evaluate::Ptr{Cvoid}
    pullback::Ptr{Cvoid}
    token::Int64
end

const TAPES = Ref(Int64(0))

# Numbers go round after 2^30, when those tapes are long gone.
workspace(::CallbackField, u) = TAPES[] = TAPES[] % 2^30 + 1
forward_workspace(::CallbackField, u) = nothing

token(field::CallbackField, tape) = isnothing(tape) ? field.token : field.token | (tape << 32)

# Solvers may hand over views; C functions get dense memory.
dense(x::Array) = x
dense(x::AbstractArray) = Array(x)

function evaluate!(field::CallbackField, du, u, p, t, w)
    source, result = dense(u), du isa Array ? du : Array(du)
    GC.@preserve source result begin
        status = @ccall $(field.evaluate)(
            token(field, w)::Int64, t::Float64, pointer(source)::Ptr{Cvoid}, pointer(result)::Ptr{Cvoid}
        )::Cint
    end
    status == 0 || throw(CallbackFailed())
    result === du || copyto!(du, result)
    return nothing
end

function pullback!(field::CallbackField, gu, gp, λ, u, p, t, w)
    source, cotangent, state = dense(u), dense(λ), gu isa Array ? gu : Array(gu)
    parameters = isnothing(gp) || gp isa Array ? gp : Array(gp)
    gt = Ref(0.0)
    GC.@preserve source cotangent state parameters begin
        status = @ccall $(field.pullback)(
            token(field, w)::Int64, t::Float64, pointer(source)::Ptr{Cvoid}, pointer(cotangent)::Ptr{Cvoid},
            pointer(state)::Ptr{Cvoid}, (isnothing(parameters) ? C_NULL : Ptr{Cvoid}(pointer(parameters)))::Ptr{Cvoid},
            gt::Ref{Float64}
        )::Cint
    end
    status == 0 || throw(CallbackFailed())
    state === gu || copyto!(gu, state)
    parameters === gp || copyto!(gp, parameters)
    return gt[]
end

# --- a Julia function

"""
    FunctionField(f; vjp = nothing)

A Julia function as right-hand side, `f(du, u, p, t)` in place or `f(u, p, t)` out of place.

`vjp` chooses who makes its vector-Jacobian products: "forward" (ForwardDiff: best for up to about a hundred states and
parameters), "reverse" (ReverseDiff, for functions in place), "zygote" (for functions out of place), or a function
`vjp!(gu, gp, λ, u, p, t) -> gt` with the meaning of `pullback!`. `nothing` chooses by size and form.
"""
struct FunctionField{InPlace, F, V} <: Field
    f::F
    vjp::V
end

function FunctionField(f; vjp = nothing)
    in_place = hasmethod(f, NTuple{4, Any})
    in_place || hasmethod(f, NTuple{3, Any}) ||
        throw(ArgumentError("$f takes neither (du, u, p, t) nor (u, p, t); define one of these methods"))
    vjp isa AbstractString && !(vjp in ("forward", "reverse", "zygote")) &&
        throw(ArgumentError("vjp is $(repr(vjp)); pass \"forward\", \"reverse\", \"zygote\" or a function"))
    in_place && vjp == "zygote" && throw(ArgumentError("Zygote cannot differentiate the in-place function $f; pass vjp = \"reverse\" or \"forward\""))
    choice = vjp isa AbstractString ? Val(Symbol(vjp)) : vjp
    return FunctionField{in_place, typeof(f), typeof(choice)}(f, choice)
end

is_generic(::FunctionField) = true

evaluate!(field::FunctionField{true}, du, u, p, t, w) = (field.f(du, u, p, t); nothing)
function evaluate!(field::FunctionField{false}, du, u, p, t, w)
    slope = field.f(u, p, t)
    slope isa AbstractArray && size(slope) == size(u) || throw(ArgumentError(
        "$(field.f) returned a $(summary(slope)); return du/dt as an array of the state's size, $(size(u))"
    ))
    copyto!(du, slope)
    return nothing
end

evaluate(field::FunctionField{false}, u, p, t) = field.f(u, p, t)
function evaluate(field::FunctionField{true}, u, p, t)
    du = similar(u, promote_type(eltype(u), eltype(p), typeof(t)))
    field.f(du, u, p, t)
    return du
end

# Up to this many states and parameters, forward mode costs less than building a tape.
const FORWARD_LIMIT = 100

pullback!(field::FunctionField{InPlace, F, Nothing}, gu, gp, λ, u, p, t, w) where {InPlace, F} =
    if length(u) + length(p) <= FORWARD_LIMIT
        forward_pullback!(field, gu, gp, λ, u, p, t)
    elseif InPlace
        reverse_pullback!(field, gu, gp, λ, u, p, t)
    else
        zygote_pullback!(field, gu, gp, λ, u, p, t)
    end
pullback!(field::FunctionField{<:Any, <:Any, Val{:forward}}, gu, gp, λ, u, p, t, w) =
    forward_pullback!(field, gu, gp, λ, u, p, t)
pullback!(field::FunctionField{<:Any, <:Any, Val{:reverse}}, gu, gp, λ, u, p, t, w) =
    reverse_pullback!(field, gu, gp, λ, u, p, t)
pullback!(field::FunctionField{<:Any, <:Any, Val{:zygote}}, gu, gp, λ, u, p, t, w) =
    zygote_pullback!(field, gu, gp, λ, u, p, t)
pullback!(field::FunctionField, gu, gp, λ, u, p, t, w) = field.vjp(gu, gp, λ, u, p, t)

"All products from one gradient of s(u, p, t) = λᵀf(u, p, t), by dual numbers."
function forward_pullback!(field, gu, gp, λ, u, p, t)
    n, m = length(u), length(p)
    point = Vector{promote_type(eltype(u), eltype(p))}(undef, n + m + 1)
    copyto!(point, 1, u, 1, n); copyto!(point, n + 1, p, 1, m); point[end] = t
    gradient = ForwardDiff.gradient(point) do x
        du = similar(x, size(u))
        evaluate!(field, du, reshape(view(x, 1:n), size(u)), view(x, (n + 1):(n + m)), x[end], nothing)
        return dot(λ, du)
    end
    copyto!(gu, 1, gradient, 1, n)
    isnothing(gp) || (gp .+= view(gradient, (n + 1):(n + m)))
    return gradient[end]
end

"All products by a ReverseDiff tape of this one evaluation, which may take any branch."
function reverse_pullback!(field, gu, gp, λ, u, p, t)
    state, parameters, time = ReverseDiff.gradient((Array(u), Array(p), [t])) do x, q, τ
        return dot(λ, evaluate(field, x, q, τ[1]))
    end
    copyto!(gu, state)
    isnothing(gp) || (gp .+= parameters)
    return time[1]
end

function zygote_pullback!(field, gu, gp, λ, u, p, t)
    _, back = Zygote.pullback((x, q, τ) -> evaluate(field, x, q, τ), u, p, t)
    state, parameters, time = back(λ)
    isnothing(state) ? fill!(gu, 0) : copyto!(gu, state)
    isnothing(gp) || isnothing(parameters) || (gp .+= parameters)
    return isnothing(time) ? zero(t) : time
end
