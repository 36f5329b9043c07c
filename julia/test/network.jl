# Networks in place against the same networks of Lux, differentiated by Zygote and by dual numbers.

using ForwardDiff, LinearAlgebra, Random, Test, Zygote
import ReverseDiff, Tracker
using NDERegEngine: NDERegEngine, NetworkField, evaluate, evaluate!, lux_model, lux_parameters, lux_states, pullback!, workspace

const ACTIVATION_WORDS = [
    "identity", "tanh", "sigmoid", "relu", "leaky_relu:0.1", "elu:1.3", "selu", "softplus:1:20", "softplus:2.5:3", "softsign",
    "silu", "gelu", "gelu_tanh", "sin", "cos", "power:1", "power:2", "power:3", "power:4",
]

two_layers(activation) = [
    "field size=3 parameters=69",
    "dense inputs=3 outputs=5 weight=0 bias=15 activation=$activation",
    "dense inputs=5 outputs=3 weight=20 bias=35 time=38 activation=$activation",
    "elementwise activation=$activation",
]

const NETWORKS = Dict(
    "without bias" => ["field size=2 parameters=20", "dense inputs=2 outputs=5 weight=0 activation=tanh", "dense inputs=5 outputs=2 weight=10"],
    "one linear layer of time" => ["field size=2 parameters=9", "dense inputs=2 outputs=2 weight=0 time=last bias=6"],
    "one feature" => ["field size=1 parameters=10", "dense inputs=1 outputs=3 weight=0 time=3 activation=sin", "dense inputs=3 outputs=1 weight=6 bias=9"],
    "power at the input" => [
        "field size=2 parameters=252", "elementwise activation=power:3",
        "dense inputs=2 outputs=50 weight=0 bias=100 activation=tanh", "dense inputs=50 outputs=2 weight=150 bias=250",
    ],
    "nested residuals and layer norms" => [
        "field size=3 parameters=52", "elementwise activation=power:2", "residual",
        "dense inputs=3 outputs=5 weight=0 time=last activation=tanh", "residual", "dense inputs=5 outputs=5 weight=20 bias=3",
        "layernorm size=5 epsilon=1e-5 weight=45", "end", "dense inputs=5 outputs=3 weight=17 bias=49", "end",
        "layernorm size=3 epsilon=1e-3 weight=1 bias=5",
    ],
    "residuals that begin together" => [
        "field size=3 parameters=39", "residual", "residual", "dense inputs=3 outputs=3 weight=0 time=last activation=gelu",
        "end", "layernorm size=3 epsilon=1e-5", "end", "dense inputs=3 outputs=3 weight=12 bias=30 time=33 activation=tanh",
    ],
    "shared weights" => [
        "field size=2 parameters=6", "dense inputs=2 outputs=2 weight=0 bias=4 activation=tanh",
        "dense inputs=2 outputs=2 weight=0 bias=4 activation=tanh",
    ],
    "large enough for BLAS" => [
        "field size=40 parameters=4000", "residual", "dense inputs=40 outputs=30 weight=0 bias=1900 time=1950 activation=silu",
        "dense inputs=30 outputs=40 weight=2000 time=last activation=relu", "end",
    ],
)

"What of one point: slope, and cotangents of state, parameters and time, by `evaluate!` and `pullback!`."
function in_place(field, u, p, t, λ)
    w = workspace(field, u)
    du, gu, gp = similar(u), fill!(similar(u), NaN), fill!(similar(p), 1)
    evaluate!(field, du, u, p, t, w)
    gt = pullback!(field, gu, gp, λ, u, p, t, w)
    without_parameters = similar(u)
    @test pullback!(field, without_parameters, nothing, λ, u, p, t, w) == gt
    @test without_parameters == gu
    return (; du, gu, gp = gp .- 1, gt)
end

"The same by Lux and Zygote; the derivatives in parameters and time by dual numbers."
function by_lux(field, u, p, t, λ)
    model = lux_model(field)
    x, μ = reshape(u, field.size, :), reshape(λ, field.size, :)
    slope(x, q, τ) = first(model(x, lux_parameters(field, q), lux_states(model, τ)))
    parameters, states = lux_parameters(field, p), lux_states(model, t)
    gx, = Zygote.gradient(x -> dot(μ, first(model(x, parameters, states))), x)
    gp = ForwardDiff.gradient(q -> dot(μ, slope(x, q, t)), p)
    gt = ForwardDiff.derivative(τ -> dot(μ, slope(x, p, τ)), t)
    return (; du = reshape(slope(x, p, t), size(u)), gu = reshape(gx, size(u)), gp, gt)
end

relative_difference(a, b) = norm(a .- b) / max(norm(b), 1)

function draw(field, T, shape; seed = 5)
    rng = Xoshiro(seed)
    return randn(rng, T, field.size, shape...), randn(rng, T, field.parameters) / 2, T(0.7), randn(rng, T, field.size, shape...)
end

function check_against_lux(description, shape)
    field = NetworkField(description)
    point = draw(field, Float64, shape)
    found, expected = in_place(field, point...), by_lux(field, point...)
    for name in keys(expected)
        @test relative_difference(found[name], expected[name]) < 1e-12
    end
    single = in_place(field, map(x -> Float32.(x), point)...)
    for name in keys(expected)
        @test eltype(single[name]) == Float32
        @test relative_difference(single[name], expected[name]) < 1e-5
    end
end

@testset "networks" begin
    @testset "slope and pullback are those of Lux: $activation" for activation in ACTIVATION_WORDS
        check_against_lux(two_layers(activation), (4,))
    end

    @testset "slope and pullback are those of Lux: $name, $shape" for (name, description) in NETWORKS, shape in ((), (7,), (70,))
        check_against_lux(description, shape)
    end

    @testset "a state may have further axes" begin
        check_against_lux(NETWORKS["nested residuals and layer norms"], (3, 2))
    end

    @testset "out of place, every kind of number gives the slope and its derivatives: $name" for (name, description) in NETWORKS
        field = NetworkField(description)
        u, p, t, λ = draw(field, Float64, (4,))
        found = in_place(field, u, p, t, λ)
        @test evaluate(field, u, p, t) ≈ found.du rtol = 1e-12
        s(u, p, t) = dot(λ, evaluate(field, u, p, t))
        @test relative_difference(ForwardDiff.gradient(u -> s(u, p, t), u), found.gu) < 1e-12
        @test relative_difference(ForwardDiff.gradient(p -> s(u, p, t), p), found.gp) < 1e-12
        @test ForwardDiff.derivative(t -> s(u, p, t), t) ≈ found.gt atol = 1e-12 rtol = 1e-12
        for (gu, gp) in (
            Zygote.gradient((u, p) -> s(u, p, t), u, p),
            ReverseDiff.gradient((u, p) -> s(u, p, t), (u, p)),
            Tracker.data.(Tracker.gradient((u, p) -> s(u, p, t), u, p)),
        )
            @test relative_difference(gu, found.gu) < 1e-12
            @test relative_difference(gp, found.gp) < 1e-12
        end
        @test eltype(evaluate(field, Float32.(u), Float32.(p), 0.7)) == Float32
    end

    @testset "in place, dual numbers in any argument give the derivatives" begin
        field = NetworkField(NETWORKS["nested residuals and layer norms"])
        u, p, t, λ = draw(field, Float64, (4,))
        found = in_place(field, u, p, t, λ)
        function s(u, p, t, w)
            du = similar(u, promote_type(eltype(u), eltype(p), typeof(t)))
            evaluate!(field, du, u, p, t, w)
            return dot(λ, du)
        end
        for w in (nothing, workspace(field, u))
            @test relative_difference(ForwardDiff.gradient(u -> s(u, p, t, w), u), found.gu) < 1e-12
            @test relative_difference(ForwardDiff.gradient(p -> s(u, p, t, w), p), found.gp) < 1e-12
            @test ForwardDiff.derivative(t -> s(u, p, t, w), t) ≈ found.gt rtol = 1e-12
        end
        @test relative_difference(ForwardDiff.gradient(u -> s(u, p, t, workspace(field, u)), u), found.gu) < 1e-12
    end

    @testset "by broadcasts, as on another device, the numbers are the same: $name" for (name, description) in NETWORKS
        field = NetworkField(description)
        u, p, t, λ = draw(field, Float64, (4,))
        found, w = in_place(field, u, p, t, λ), workspace(field, u)
        du, gu, gp = similar(u), similar(u), zero(p)
        NDERegEngine.forward!(field, du, u, p, t, w)
        gt = NDERegEngine.backward!(field, gu, gp, λ, u, p, t, w)
        @test relative_difference(du, found.du) < 1e-12
        @test relative_difference(gu, found.gu) < 1e-12
        @test relative_difference(gp, found.gp) < 1e-12
        @test gt ≈ found.gt rtol = 1e-12 atol = 1e-12
    end

    @testset "views and reshaped memory are used as they are" begin
        field = NetworkField(NETWORKS["large enough for BLAS"])
        u, p, t, λ = draw(field, Float64, (6,))
        expected, w = in_place(field, u, p, t, λ), workspace(field, u)
        memory = zeros(2 * length(u) + 2 * length(p))
        du, gu = reshape(view(memory, 1:length(u)), size(u)), reshape(view(memory, length(u) .+ (1:length(u))), size(u))
        q = view(memory, 2 * length(u) .+ (1:length(p))); q .= p
        gp = view(memory, 2 * length(u) + length(p) .+ (1:length(p)))
        evaluate!(field, du, u, q, t, w)
        @test du == expected.du
        @test pullback!(field, gu, gp, λ, u, q, t, w) == expected.gt
        @test gu == expected.gu
        @test gp ≈ expected.gp
        scattered = view(zeros(80, 6), 1:2:79, :)  # not one piece of memory: by broadcasts
        evaluate!(field, scattered, u, p, t, w)
        @test scattered ≈ expected.du
    end

    @testset "NaN and infinity are not hidden: $activation" for activation in ACTIVATION_WORDS, T in (Float32, Float64)
        field = NetworkField(["field size=3 parameters=0", "elementwise activation=$activation"])
        du, u = zeros(T, 3), T[NaN, Inf, 0.5]
        evaluate!(field, du, u, T[], 0.0, workspace(field, u))
        @test isnan(du[1])
        @test !isnan(du[3])
    end

    @testset "quick functions are within 3 units in the last place" for T in (Float32, Float64)
        units(found, exact) = Float64(abs(big(found) - exact) / eps(typeof(found)(exact)))
        for x in T.(vcat(range(-60, 60; length = 4001), exp.(range(-30, 3; length = 1000))))
            @test units(NDERegEngine.quick_tanh(x), tanh(big(x))) < 3
            @test units(NDERegEngine.quick_sigmoid(x), 1 / (1 + exp(-big(x)))) < 3
            @test units(NDERegEngine.quick_expm1(-abs(x)), expm1(-big(abs(x)))) < 3
            @test units(NDERegEngine.quick_softplus(x), log1p(exp(big(x)))) < 3
        end
    end

    @testset "nothing is allocated: $name, $T" for (name, description) in NETWORKS, T in (Float32, Float64)
        field = NetworkField(description)
        u, p, t, λ = draw(field, T, (20,))
        w, du, gu, gp = workspace(field, u), similar(u), similar(u), zero(p)
        forwards(field, du, u, p, t, w) = @allocated evaluate!(field, du, u, p, t, w)
        backwards(field, gu, gp, λ, u, p, t, w) = @allocated pullback!(field, gu, gp, λ, u, p, t, w)
        forwards(field, du, u, p, t, w)  # once to compile
        backwards(field, gu, gp, λ, u, p, t, w)
        @test forwards(field, du, u, p, t, w) == 0
        @test backwards(field, gu, gp, λ, u, p, t, w) == 0
    end

    @testset "a description that cannot be read is refused in one sentence" begin
        start = "field size=2 parameters=6"
        dense = "dense inputs=2 outputs=2 weight=0 bias=4"
        for (description, part) in (
            (String[], "empty"), ([dense], "begin with"), ([start], "no layers"), ([start, "convolution"], "kind"),
            ([start, "dense inputs=3 outputs=2 weight=0"], "3 features"), ([start, "dense inputs=2 outputs=3 weight=0"], "maps 2"),
            ([start, "dense inputs=2 outputs=2 weight=3"], "parameter 7 of 6"), ([start, "dense inputs=2 weight=0"], "lacks outputs"),
            ([start, "dense inputs=2 outputs=two weight=0"], "outputs=two"), ([start, dense * " colour=red"], "unknown key"),
            ([start, dense * " activation=glu"], "unknown activation"), ([start, dense * " activation=elu"], "constants"),
            ([start, dense * " activation=power:0.5"], "exponent"), ([start, "residual", dense], "never closed"),
            ([start, dense, "end"], "closes nothing"), ([start, "residual", "end"], "empty residual"), ([start, ""], "empty"),
            ([start, "layernorm size=2"], "epsilon"), ([start, "dense inputs 2"], "key=value"),
        )
            error = try
                NetworkField(description); nothing
            catch caught
                caught
            end
            @test error isa ArgumentError
            @test occursin(part, error.msg)
            @test !occursin('\n', error.msg)
        end
    end

    @testset "arrays of wrong sizes are refused" begin
        field = NetworkField(NETWORKS["shared weights"])
        u, p = zeros(2, 3), zeros(6)
        w = workspace(field, u)
        @test_throws DimensionMismatch evaluate!(field, zeros(3, 3), zeros(3, 3), p, 0.0, w)
        @test_throws DimensionMismatch evaluate!(field, zeros(2, 2), u, p, 0.0, w)
        @test_throws DimensionMismatch evaluate!(field, similar(u), u, zeros(5), 0.0, w)
        @test_throws DimensionMismatch evaluate!(field, zeros(2, 4), zeros(2, 4), p, 0.0, w)
        @test_throws DimensionMismatch pullback!(field, similar(u), zeros(7), u, u, p, 0.0, w)
    end
end
