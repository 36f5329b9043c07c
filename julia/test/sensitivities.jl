# Gradients by SciMLSensitivity's algorithms against the golden ones, which it computed for out-of-place functions.

using NDERegEngine, LinearAlgebra, Test
using NDERegEngine: continuous_adjoint, sensealg

# JSON's lists and numbers are Julia's; its objects become dictionaries.
const GOLDEN = let text = read(joinpath(@__DIR__, "..", "..", "tests", "golden", "gradients.json"), String)
    cases = eval(Meta.parse(replace(text, "{" => "Dict(", "}" => ")", "\":" => "\"=>")))["cases"]
    Dict(case["problem"] => case for case in cases)
end

predator_prey(u, p, t) = [p[1] * u[1] - p[2] * u[1] * u[2], -p[3] * u[2] + p[4] * u[1] * u[2]]
predator_prey!(du, u, p, t) = (
    du[1] = p[1] * u[1] - p[2] * u[1] * u[2];
    du[2] = -p[3] * u[2] + p[4] * u[1] * u[2];
    nothing
)
forced(u, p, t) = [-p[1] * u[1] + sin(p[2] * t) * u[2], -p[3] * u[2]^3 + cos(p[4] * t)]
forced!(du, u, p, t) = (
    du[1] = -p[1] * u[1] + sin(p[2] * t) * u[2];
    du[2] = -p[3] * u[2]^3 + cos(p[4] * t);
    nothing
)
function small_network(u, p, t)
    row = fill(t, 1, size(u, 2))
    h = tanh.(reshape(p[1:24], 8, 3) * vcat(u, row) .+ p[25:32])
    return reshape(p[33:50], 2, 9) * vcat(h, row) .+ p[51:52]
end
# The same network as layers, whose weights are transposed.
const LAYERS = [
    "field size=2 parameters=52",
    "dense inputs=2 outputs=8 weight=0 time=last bias=24 activation=tanh",
    "dense inputs=8 outputs=2 weight=32 time=last bias=50",
]
transposed(p) = [vec(permutedims(reshape(p[1:24], 8, 3))); p[25:32]; vec(permutedims(reshape(p[33:50], 2, 9))); p[51:52]]

# A right-hand side in C's manner.
const FORCED = FunctionField(forced!)
const RATES_OF_FORCED = Float64.(GOLDEN["forced"]["p"])
function forced_evaluate(token::Int64, t::Float64, u::Ptr{Float64}, du::Ptr{Float64})::Cint
    forced!(unsafe_wrap(Array, du, 2), unsafe_wrap(Array, u, 2), RATES_OF_FORCED, t)
    return 0
end
function forced_pullback(
        token::Int64, t::Float64, u::Ptr{Float64}, λ::Ptr{Float64}, gu::Ptr{Float64}, gp::Ptr{Float64}, gt::Ptr{Float64}
    )::Cint
    total = gp == C_NULL ? nothing : unsafe_wrap(Array, gp, 4)
    state, cotangent, result = (unsafe_wrap(Array, x, 2) for x in (u, λ, gu))
    unsafe_store!(gt, pullback!(FORCED, result, total, cotangent, state, RATES_OF_FORCED, t, nothing))
    return 0
end
const CALLBACK = CallbackField(
    @cfunction(forced_evaluate, Cint, (Int64, Float64, Ptr{Float64}, Ptr{Float64})),
    @cfunction(forced_pullback, Cint, (Int64, Float64, Ptr{Float64}, Ptr{Float64}, Ptr{Float64}, Ptr{Float64}, Ptr{Float64})), 1
)

const VERN9 = algorithm("vern9")
as_state(columns::Vector{<:Vector}) = reduce(hcat, columns)
as_state(numbers::Vector) = Float64.(numbers)

function solve_case(field, case; p = Float64.(case["p"]), tspan = (case["t0"], case["t1"]), u0 = as_state(case["y0"]), options...)
    return NDERegEngine.solve(
        field, p, u0, tspan; algorithm = VERN9, abstol = 1e-12, reltol = 1e-12, keep_solution = true, options...
    )
end

"Cotangents of the golden loss, sum(y(t1)^2) + sum over saved times of sum(y)."
cotangents_of(case, record) = (;
    u1 = 2 .* vec(record.u1), times = Float64.(case["saveat"]), saved = ones(length(record.u1), length(case["saveat"]))
)

distance(found, expected) = norm(vec(found) .- vec(expected)) / norm(vec(expected))

function check_golden(field, case, choice; order = identity)
    p = order(Float64.(case["p"]))
    record = solve_case(field, case; p)
    gradient = continuous_adjoint(
        field, p, record, cotangents_of(case, record); sensealg = choice, abstol = 1e-12, reltol = 1e-12, algorithm = VERN9
    )
    @test distance(gradient.u0, as_state(case["grad_y0"])) < 1e-8
    @test distance(gradient.p, order(Float64.(case["grad_p"]))) < 1e-8
    @test size(gradient.u0) == size(as_state(case["y0"]))
    @test isempty(gradient.messages)
    return gradient
end

const ADJOINTS = ("InterpolatingAdjoint", "BacksolveAdjoint", "QuadratureAdjoint", "GaussAdjoint", "GaussKronrodAdjoint")

@testset "$name of $label with the field's products meets the golden gradients" for name in ADJOINTS, (label, field, problem, order) in (
        ("a function in place", FunctionField(predator_prey!), "lotka_volterra", identity),
        ("a function out of place", FunctionField(forced), "forced", identity),
        ("a callback", CALLBACK, "forced", identity),
        ("a function of matrices", FunctionField(small_network), "network", identity),
        ("a network", NetworkField(LAYERS), "network", transposed),
    )
    check_golden(field, GOLDEN[problem], sensealg(name); order)
end

@testset "$name with checkpointing = $checkpointing meets them" for (name, checkpointing) in
        (("InterpolatingAdjoint", true), ("BacksolveAdjoint", false))
    check_golden(CALLBACK, GOLDEN["forced"], sensealg(name; checkpointing))
end

# QuadratureAdjoint with finite differences meets its tolerances only at great length.
@testset "$name with $autojacvec meets them" for name in ("InterpolatingAdjoint", "GaussAdjoint"),
    autojacvec in ("zygote", "reversediff", "reversediff_compiled", "tracker", "forward", "finite")

    autojacvec == "tracker" && name == "GaussAdjoint" && continue
    for (field, problem, order) in (
            (FunctionField(predator_prey!), "lotka_volterra", identity), (FunctionField(small_network), "network", identity),
            (NetworkField(LAYERS), "network", transposed),
        )
        # Tracker fails with a DimensionMismatch on both forms of the network.
        autojacvec == "tracker" && problem == "network" && continue
        check_golden(field, GOLDEN[problem], sensealg(name; autojacvec); order)
    end
end

@testset "$name, which solves again, meets them" for name in
        ("ForwardDiffSensitivity", "ForwardSensitivity", "ReverseDiffAdjoint", "TrackerAdjoint")
    for (field, problem, order) in (
            (FunctionField(predator_prey!), "lotka_volterra", identity), (FunctionField(forced), "forced", identity),
            (NetworkField(LAYERS), "network", transposed),
        )
        check_golden(field, GOLDEN[problem], sensealg(name); order)
    end
end

@testset "times and cotangents at both ends have the gradients of finite differences, with $name, from $t0 to $t1" for
        name in ("InterpolatingAdjoint", "GaussAdjoint", "ForwardDiffSensitivity"), (t0, t1) in ((0.2, 1.7), (1.7, 0.2))

    field, p, u0 = FunctionField(forced!), [1.0, 1.0, 0.1, 2.0], [1.0, -0.5]
    times = [t0, (t0 + t1) / 2, t1]
    saved, u1 = [0.3 -0.2 0.7; 0.1 0.5 -0.4], [0.4, 0.9]
    # The save time inside stands still when the ends move.
    function loss(a, b, u0 = u0, p = p)
        moved = NDERegEngine.solve(field, p, u0, (a, b); algorithm = VERN9, abstol = 1e-13, reltol = 1e-13, keep_solution = true)
        inner = NDERegEngine.interpolate(moved.solution, times[2:2])
        return dot(saved[:, 1], u0) + dot(saved[:, 2], inner) + dot(saved[:, 3] .+ u1, moved.u1)
    end
    record = NDERegEngine.solve(field, p, u0, (t0, t1); algorithm = VERN9, abstol = 1e-12, reltol = 1e-12, keep_solution = true)
    gradient = continuous_adjoint(
        field, p, record, (; u1 = u1 .+ saved[:, 3], times = times[1:2], saved = saved[:, 1:2]); sensealg = sensealg(name),
        abstol = 1e-12, reltol = 1e-12, algorithm = VERN9
    )
    h = 1e-4
    difference(f) = (8 * (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h
    unit(n, i) = [Float64(i == j) for j in 1:n]
    @test gradient.t0 ≈ difference(s -> loss(t0 + s, t1)) rtol = 1e-8
    @test gradient.t1 ≈ difference(s -> loss(t0, t1 + s)) rtol = 1e-8
    @test gradient.u0 ≈ [difference(s -> loss(t0, t1, u0 + s * unit(2, i))) for i in 1:2] rtol = 1e-8
    @test gradient.p ≈ [difference(s -> loss(t0, t1, u0, p + s * unit(4, i))) for i in 1:4] rtol = 1e-8
    # A cotangent at a save time that is the end is one of the last state, but for the end's own gradient.
    same = continuous_adjoint(
        field, p, record, (; u1, times, saved); sensealg = sensealg(name), abstol = 1e-12, reltol = 1e-12, algorithm = VERN9
    )
    @test same.u0 ≈ gradient.u0 rtol = 1e-12
    @test same.p ≈ gradient.p rtol = 1e-12
end

@testset "single precision, fixed steps and no parameters" begin
    p, u0 = Float32[1.0, 1.0, 0.1, 2.0], Float32[1.0, -0.5]
    case = GOLDEN["forced"]
    for name in ADJOINTS
        record = NDERegEngine.solve(
            FORCED, p, u0, (0.0, 5.0); algorithm = algorithm("tsit5"), abstol = 1e-6, reltol = 1e-6, keep_solution = true
        )
        gradient = continuous_adjoint(
            FORCED, p, record, cotangents_of(case, record); sensealg = sensealg(name), abstol = 1e-6, reltol = 1e-6,
            algorithm = algorithm("tsit5")
        )
        @test eltype(gradient.u0) == eltype(gradient.p) == Float32
        @test distance(gradient.p, case["grad_p"]) < 1e-4
    end
    record = NDERegEngine.solve(
        FORCED, RATES_OF_FORCED, [1.0, -0.5], (0.0, 5.0); algorithm = algorithm("rk4"), abstol = 1e-6, reltol = 1e-6, dt = 0.005,
        adaptive = false, keep_solution = true
    )
    gradient = continuous_adjoint(
        FORCED, RATES_OF_FORCED, record, cotangents_of(case, record); sensealg = sensealg("InterpolatingAdjoint"), abstol = 1e-6,
        reltol = 1e-6, algorithm = algorithm("rk4")
    )
    # Dense output by cubic Hermite polynomials, of fourth order.
    @test distance(gradient.p, case["grad_p"]) < 1e-7
    decay = FunctionField((du, u, p, t) -> (du .= -u; nothing))
    for name in (ADJOINTS..., "ForwardDiffSensitivity", "ForwardSensitivity")
        record = NDERegEngine.solve(decay, Float64[], [2.0], (0.0, 1.0); algorithm = VERN9, abstol = 1e-12, reltol = 1e-12, keep_solution = true)
        gradient = continuous_adjoint(
            decay, Float64[], record, (; u1 = [1.0], times = Float64[], saved = zeros(1, 0)); sensealg = sensealg(name),
            abstol = 1e-12, reltol = 1e-12, algorithm = VERN9
        )
        @test gradient.u0 ≈ [exp(-1)] rtol = 1e-10
        @test isempty(gradient.p)
    end
end

@testset "one evaluation and one pullback serve state, parameters and slope" begin
    evaluations, products = Ref(0), Ref(0)
    f!(du, u, p, t) = (evaluations[] += 1; forced!(du, u, p, t))
    vjp!(gu, gp, λ, u, p, t) = (products[] += 1; pullback!(FORCED, gu, gp, λ, u, p, t, nothing))
    case = GOLDEN["forced"]
    field = FunctionField(f!; vjp = vjp!)
    record = solve_case(field, case)
    evaluations[] = 0
    gradient = continuous_adjoint(
        field, RATES_OF_FORCED, record, cotangents_of(case, record); sensealg = sensealg("BacksolveAdjoint"), abstol = 1e-12,
        reltol = 1e-12, algorithm = VERN9
    )
    @test distance(gradient.p, case["grad_p"]) < 1e-8
    # Two more slopes, at the ends of the interval.
    @test evaluations[] == products[] + 2
end

@testset "what is unknown or impossible is refused in one sentence" begin
    @test_throws "there is no sensitivity algorithm Magic" sensealg("Magic")
    @test_throws "GaussAdjoint has no option checkpointing; leave it out" sensealg("GaussAdjoint"; checkpointing = true)
    @test_throws "autojacvec is \"magic\"; pass one of" sensealg("GaussAdjoint"; autojacvec = "magic")
    @test_throws "ForwardSensitivity differentiates with its own numbers" sensealg("ForwardSensitivity"; autojacvec = "field")
    @test_throws "QuadratureAdjoint has no products with parameters by Tracker" sensealg("QuadratureAdjoint"; autojacvec = "tracker")
    case = GOLDEN["forced"]
    record = solve_case(CALLBACK, case)
    differentiate(choice, cotangents = cotangents_of(case, record); record = record) = continuous_adjoint(
        CALLBACK, RATES_OF_FORCED, record, cotangents; sensealg = choice, abstol = 1e-6, reltol = 1e-6, algorithm = VERN9
    )
    @test_throws "this right-hand side has no products other than its own" differentiate(sensealg("GaussAdjoint"; autojacvec = "zygote"))
    @test_throws "solves with other numbers than floating-point ones" differentiate(sensealg("ForwardDiffSensitivity"))
    @test_throws "the solve covers 0.0 to 5.0" differentiate(
        sensealg("GaussAdjoint"), (; u1 = nothing, times = [5.5], saved = ones(2, 1))
    )
    @test_throws "the record has no solution" differentiate(
        sensealg("GaussAdjoint"), cotangents_of(case, record); record = solve_case(CALLBACK, case; keep_solution = false)
    )
    plain = solve_case(FORCED, case)
    @test_throws "ZygoteAdjoint cannot differentiate Vern9" continuous_adjoint(
        FORCED, RATES_OF_FORCED, plain, cotangents_of(case, plain); sensealg = sensealg("ZygoteAdjoint"), abstol = 1e-6,
        reltol = 1e-6, algorithm = VERN9
    )
end
