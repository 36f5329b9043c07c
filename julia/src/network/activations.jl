# Activations with PyTorch's definitions, and their slopes from whichever of input and output is cheaper to keep.

"""
    Activation

A scalar function of a layer: `f(x)` is its value, `slope(f, kept)` its derivative, where `kept` is the input
if `keeps_input(f)` and otherwise the output. Plain values, so that a broadcast over a GPU array works too.
"""
abstract type Activation end

Base.broadcastable(f::Activation) = Ref(f)

struct Identity <: Activation end
struct Tanh <: Activation end
struct Sigmoid <: Activation end
struct ReLU <: Activation end
struct LeakyReLU{T} <: Activation
    slope::T  # for negative inputs, >= 0
end
struct ELU{T} <: Activation
    alpha::T  # > 0
end
struct SELU <: Activation end
struct Softplus{T} <: Activation
    beta::T
    threshold::T  # of beta * x, above which the function is taken for the identity
end
struct Softsign <: Activation end
struct SiLU <: Activation end
struct GELU <: Activation end
struct TanhGELU <: Activation end
struct Sine <: Activation end
struct Cosine <: Activation end
struct Power <: Activation
    exponent::Int  # >= 1
end

"Names of the activations in a description, with the number of constants that each takes."
const ACTIVATIONS = (
    identity = 0, tanh = 0, sigmoid = 0, relu = 0, leaky_relu = 1, elu = 1, selu = 0, softplus = 2, softsign = 0,
    silu = 0, gelu = 0, gelu_tanh = 0, sin = 0, cos = 0, power = 1,
)

"""
    with_activation(use, name, constants, T)

`use(activation)` for the activation of that name. One branch per activation instead of a type per network: every
network runs the same compiled code.
"""
@inline function with_activation(use::F, name::Symbol, constants::NTuple{2,Float64}, ::Type{T}) where {F,T}
    name === :identity && return use(Identity())
    name === :tanh && return use(Tanh())
    name === :relu && return use(ReLU())
    name === :sigmoid && return use(Sigmoid())
    name === :softplus && return use(Softplus(T(constants[1]), T(constants[2])))
    name === :silu && return use(SiLU())
    name === :gelu && return use(GELU())
    name === :gelu_tanh && return use(TanhGELU())
    name === :elu && return use(ELU(T(constants[1])))
    name === :selu && return use(SELU())
    name === :leaky_relu && return use(LeakyReLU(T(constants[1])))
    name === :softsign && return use(Softsign())
    name === :sin && return use(Sine())
    name === :cos && return use(Cosine())
    return use(Power(Int(constants[1])))
end

const SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
const SQRT_2_OVER_PI, TANH_GELU_CUBIC = sqrt(2 / pi), 0.044715

# Inlined, so that a loop over one of them compiles to vector instructions.
(::Identity)(x) = x
@inline (::Tanh)(x) = quick_tanh(x)
@inline (::Sigmoid)(x) = quick_sigmoid(x)
(::ReLU)(x) = ifelse(x < zero(x), zero(x), x)  # NaN stays NaN
(f::LeakyReLU)(x) = ifelse(x > zero(x), x, f.slope * x)
@inline (f::ELU)(x) = ifelse(x > zero(x), x, f.alpha * quick_expm1(ifelse(x > zero(x), zero(x), x)))
@inline (::SELU)(x) = real_like(x, SELU_SCALE) * ELU(real_like(x, SELU_ALPHA))(x)
@inline (f::Softplus)(x) = ifelse(f.beta * x > f.threshold, x, quick_softplus(f.beta * x) / f.beta)
(::Softsign)(x) = x / (one(x) + abs(x))
@inline (::SiLU)(x) = x * quick_sigmoid(x)
(::GELU)(x) = x * normal_distribution(x)
@inline (::TanhGELU)(x) = x / 2 * (one(x) + quick_tanh(tanh_gelu_argument(x)))
(::Sine)(x) = sin(finite_or_nan(x))
(::Cosine)(x) = cos(finite_or_nan(x))
(f::Power)(x) = power(x, f.exponent)

"Whether the slope is computed from the input; otherwise it is from the output."
keeps_input(::Activation) = false
keeps_input(::Union{Softplus, SiLU, GELU, TanhGELU, Sine, Cosine, Power}) = true

"`slope(f, kept)`: the derivative, with PyTorch's choice where there is none."
slope(::Identity, y) = one(y)
slope(::Tanh, y) = one(y) - y * y
slope(::Sigmoid, y) = y * (one(y) - y)
slope(::ReLU, y) = ifelse(y > zero(y), one(y), zero(y))
slope(f::LeakyReLU, y) = ifelse(y > zero(y), one(y), oftype(y, f.slope))
slope(f::ELU, y) = ifelse(y > zero(y), one(y), y + oftype(y, f.alpha))
@inline slope(::SELU, y) = real_like(y, SELU_SCALE) * ifelse(y > zero(y), one(y), y / real_like(y, SELU_SCALE) + real_like(y, SELU_ALPHA))
@inline slope(f::Softplus, x) = ifelse(f.beta * x > f.threshold, one(x), quick_sigmoid(f.beta * x))
slope(::Softsign, y) = (one(y) - abs(y))^2
slope(::Sine, x) = cos(finite_or_nan(x))
slope(::Cosine, x) = -sin(finite_or_nan(x))
slope(f::Power, x) = f.exponent * power(x, f.exponent - 1)

@inline function slope(::SiLU, x)
    σ = quick_sigmoid(x)
    return σ * (one(x) + x * (one(x) - σ))
end

slope(::GELU, x) = normal_distribution(x) + x * exp(-x * x / 2) * real_like(x, 1 / sqrt(2 * pi))

@inline function slope(::TanhGELU, x)
    y = quick_tanh(tanh_gelu_argument(x))
    inner = real_like(x, SQRT_2_OVER_PI) * (one(x) + real_like(x, 3 * TANH_GELU_CUBIC) * x * x)
    return (one(x) + y) / 2 + x / 2 * (one(x) - y * y) * inner
end

"`slope` where only the input is at hand."
@inline slope_at(f::Activation, x) = keeps_input(f) ? slope(f, x) : slope(f, f(x))

# A constant in the precision of x, which may be a dual or traced number.
real_like(x, constant) = convert(typeof(one(x)), constant)

tanh_gelu_argument(x) = real_like(x, SQRT_2_OVER_PI) * (x + real_like(x, TANH_GELU_CUBIC) * x * x * x)
normal_distribution(x) = erfc(-x * real_like(x, sqrt(0.5))) / 2
# Base's sin throws at infinity; a solver wants to see NaN.
finite_or_nan(x) = ifelse(isinf(x), x - x, x)
power(x, n) = n == 0 ? one(x) : n == 1 ? x : n == 2 ? x * x : n == 3 ? x * x * x : x^n

# --- exponentials that compile to vector instructions

# Base's tanh and exp branch or look up tables, which keeps a loop over them scalar. These do neither, and are within
# a few units in the last place of the exact value; other numbers than these two use Base's.
const Quick = Union{Float32, Float64}

# Adding and subtracting 1.5 * 2^(significant bits) rounds to a whole number and leaves it in the low bits of the sum.
rounding_constant(::Type{Float64}) = 6.755399441055744e15
rounding_constant(::Type{Float32}) = 1.2582912f7
inverse_ln2(::Type{Float64}) = 1.4426950408889634
inverse_ln2(::Type{Float32}) = 1.442695f0
# ln 2 in two parts, the first short enough that a multiple of it is exact.
ln2_parts(::Type{Float64}) = (6.93145751953125e-1, 1.42860682030941723212e-6)
ln2_parts(::Type{Float32}) = (6.93359375f-1, -2.12194440f-4)
const TAYLOR_OF_EXPM1 = ntuple(n -> 1 / factorial(n), 13)
const TAYLOR_OF_EXPM1_SINGLE = ntuple(n -> Float32(1 / factorial(n)), 7)
taylor_of_expm1(::Type{Float64}) = TAYLOR_OF_EXPM1
taylor_of_expm1(::Type{Float32}) = TAYLOR_OF_EXPM1_SINGLE

"2^n and e^r - 1 with e^x = 2^n e^r and |r| <= ln(2) / 2; for |x| below the logarithm of the largest number."
@inline function split_exponential(x::T) where {T <: Quick}
    shifted = muladd(x, inverse_ln2(T), rounding_constant(T))
    n = shifted - rounding_constant(T)
    bits = reinterpret(signed_type(T), shifted) - reinterpret(signed_type(T), rounding_constant(T))
    scale = reinterpret(T, (bits + bias_of_exponent(T)) << significant_bits(T))
    high, low = ln2_parts(T)
    r = muladd(-n, low, muladd(-n, high, x))
    return scale, r * evalpoly(r, taylor_of_expm1(T))
end

signed_type(::Type{Float64}) = Int64
signed_type(::Type{Float32}) = Int32
bias_of_exponent(::Type{Float64}) = Int64(1023)
bias_of_exponent(::Type{Float32}) = Int32(127)
significant_bits(::Type{Float64}) = 52
significant_bits(::Type{Float32}) = 23

# Beyond these, tanh rounds to 1, and 1 / (1 + e^x) to 0 or e^-x.
tanh_limit(::Type{Float64}) = 40.0
tanh_limit(::Type{Float32}) = 20.0f0
exponential_limit(::Type{Float64}) = 708.0
exponential_limit(::Type{Float32}) = 87.0f0

# Comparisons with NaN are false, so that NaN passes through each of these.
below(limit, x) = ifelse(x > limit, limit, x)

quick_tanh(x) = tanh(x)
@inline function quick_tanh(x::T) where {T <: Quick}
    scale, rest = split_exponential(below(tanh_limit(T), 2 * abs(x)))
    expm1_2x = muladd(scale, rest, scale - one(T))
    return copysign(expm1_2x / (expm1_2x + 2), x)
end

quick_sigmoid(x) = one(x) / (one(x) + exp(-x))
@inline function quick_sigmoid(x::T) where {T <: Quick}
    scale, rest = split_exponential(-below(exponential_limit(T), abs(x)))
    e = muladd(scale, rest, scale)
    return ifelse(x < zero(T), e, one(T)) / (one(T) + e)
end

quick_expm1(x) = expm1(x)
@inline function quick_expm1(x::T) where {T <: Quick}  # for x <= 0
    scale, rest = split_exponential(-below(tanh_limit(T), -x))
    return muladd(scale, rest, scale - one(T))
end

# log(1 + e) is 2 artanh(s) with s = e / (2 + e) <= 1/3; its series needs so many terms.
const SERIES_OF_ARTANH = ntuple(n -> 1 / (2n - 1), 17)
const SERIES_OF_ARTANH_SINGLE = ntuple(n -> 1.0f0 / (2n - 1), 8)
series_of_artanh(::Type{Float64}) = SERIES_OF_ARTANH
series_of_artanh(::Type{Float32}) = SERIES_OF_ARTANH_SINGLE

quick_softplus(x) = max(x, zero(x)) + log1p(exp(-abs(x)))
@inline function quick_softplus(x::T) where {T <: Quick}
    scale, rest = split_exponential(-below(exponential_limit(T), abs(x)))
    e = muladd(scale, rest, scale)
    s = e / (2 + e)
    return ifelse(x < zero(T), zero(T), x) + 2s * evalpoly(s * s, series_of_artanh(T))
end
