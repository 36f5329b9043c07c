using NDERegEngine, Test
using NDERegEngine: CallbackFailed
include("problems.jl")

function products(field, u, p, t, λ; w = workspace(field, u))
    du, gu, gp = similar(u), similar(u), ones(length(p))
    evaluate!(field, du, u, p, t, w)
    gt = pullback!(field, gu, gp, λ, u, p, t, w)
    return du, gu, gp, gt
end

const POINT = ([0.7, 1.3], RATES, 0.4, [0.5, -2.0])
const EXPECTED = let (u, p, t, λ) = POINT
    jacobian = [p[1] - p[2] * u[2] -p[2] * u[1]; p[4] * u[2] p[4] * u[1] - p[3]]
    parameters = [u[1] -u[1] * u[2] 0 0; 0 0 -u[2] u[1] * u[2]]
    (lotka_volterra(u, p, t), jacobian' * λ, 1 .+ parameters' * λ, λ[2] * 0.1 * cos(t))
end

vjp!(gu, gp, λ, u, p, t) = (NDERegEngine.forward_pullback!(FunctionField(lotka_volterra!), gu, gp, λ, u, p, t))

@testset "vector-Jacobian products of a Julia function by $vjp" for (f, vjp) in (
        (lotka_volterra!, nothing), (lotka_volterra!, "forward"), (lotka_volterra!, "reverse"), (lotka_volterra!, vjp!),
        (lotka_volterra, nothing), (lotka_volterra, "forward"), (lotka_volterra, "reverse"), (lotka_volterra, "zygote"),
    )
    for (found, expected) in zip(products(FunctionField(f; vjp), POINT...), EXPECTED)
        @test found ≈ expected rtol = 1e-12
    end
end

@testset "what is no right-hand side, or cannot be differentiated so, is refused" begin
    @test_throws "takes neither (du, u, p, t) nor (u, p, t)" FunctionField((x, y) -> x)
    @test_throws "vjp is \"magic\"" FunctionField(lotka_volterra!; vjp = "magic")
    @test_throws "Zygote cannot differentiate the in-place function" FunctionField(lotka_volterra!; vjp = "zygote")
end

# A right-hand side in C's manner.
function c_evaluate(token::Int64, t::Float64, u::Ptr{Float64}, du::Ptr{Float64})::Cint
    token % 2^32 == 13 && return 1
    slope = lotka_volterra([unsafe_load(u, 1), unsafe_load(u, 2)], RATES, t)
    foreach(i -> unsafe_store!(du, slope[i], i), 1:2)
    return 0
end
function c_pullback(token::Int64, t::Float64, u::Ptr{Float64}, λ::Ptr{Float64}, gu::Ptr{Float64}, gp::Ptr{Float64}, gt::Ptr{Float64})::Cint
    state, cotangent = unsafe_wrap(Array, u, 2), unsafe_wrap(Array, λ, 2)
    total = gp == C_NULL ? nothing : unsafe_wrap(Array, gp, 4)
    time = NDERegEngine.forward_pullback!(FunctionField(lotka_volterra!), unsafe_wrap(Array, gu, 2), total, cotangent, state, RATES, t)
    unsafe_store!(gt, time)
    return 0
end
const EVALUATE = @cfunction(c_evaluate, Cint, (Int64, Float64, Ptr{Float64}, Ptr{Float64}))
const PULLBACK = @cfunction(c_pullback, Cint, (Int64, Float64, Ptr{Float64}, Ptr{Float64}, Ptr{Float64}, Ptr{Float64}, Ptr{Float64}))

@testset "a field in another language" begin
    for (found, expected) in zip(products(CallbackField(EVALUATE, PULLBACK, 1), POINT...), EXPECTED)
        @test found ≈ expected rtol = 1e-12
    end
    views = view([0.7, 0.0, 1.3], [1, 3])   # not dense
    du = view(zeros(3), [1, 3])
    evaluate!(CallbackField(EVALUATE, PULLBACK, 1), du, views, RATES, 0.4, nothing)
    @test du ≈ EXPECTED[1]
    @test_throws CallbackFailed evaluate!(CallbackField(EVALUATE, PULLBACK, 13), zeros(2), zeros(2), RATES, 0.0, nothing)
end
