# Gradients through stiff equations.

using NDERegEngine, LinearAlgebra, Test
using NDERegEngine: continuous_adjoint, sensealg

# Robertson's reactions.
robertson!(du, u, p, t) = (
    du[1] = -p[1] * u[1] + p[3] * u[2] * u[3];
    du[2] = p[1] * u[1] - p[3] * u[2] * u[3] - p[2] * u[2]^2;
    du[3] = p[2] * u[2]^2;
    nothing
)
const ROBERTSON = FunctionField(robertson!)
const CONSTANTS = [0.04, 3e7, 1e4]

robertson_state(p, t1; method = "Rodas5P", reltol = 1e-13, abstol = 1e-22, options...) = NDERegEngine.solve(
    ROBERTSON, p, [1.0, 0.0, 0.0], (0.0, t1); algorithm = algorithm(method), abstol, reltol, options...
)

"Derivatives of the state at t1, by central differences of order four. Shape (3, 3)."
function differences(t1)
    result = zeros(3, 3)
    for j in 1:3
        step = 1e-3 * CONSTANTS[j]
        state(s) = robertson_state(CONSTANTS .+ (s * step) .* (1:3 .== j), t1).u1
        result[:, j] = (8 * (state(1) - state(-1)) - (state(2) - state(-2))) / 12step
    end
    # u1 + u2 + u3 = 1; u3 is nearly 1, and its own differences are rounding.
    result[3, :] = -result[1, :] - result[2, :]
    return result
end

function jacobian(method, choice, t1; reltol, abstol, adjoint_abstol = abstol)
    record = robertson_state(CONSTANTS, t1; method, reltol, abstol, keep_solution = true)
    @test record.retcode === :Success
    rows = map(1:3) do i
        cotangents = (; u1 = Float64.(1:3 .== i), times = Float64[], saved = zeros(3, 0))
        continuous_adjoint(
            ROBERTSON, CONSTANTS, record, cotangents; sensealg = choice, abstol = adjoint_abstol, reltol,
            algorithm = algorithm(method)
        ).p
    end
    return permutedims(reduce(hcat, rows))
end

const AT_END = differences(1e11)

@testset "Robertson's equations to 1e11 by $method with $name" for (method, name) in
        (("Rodas5P", "ForwardDiffSensitivity"), ("FBDF", "ForwardDiffSensitivity"), ("FBDF", "ForwardSensitivity"))
    found = jacobian(method, sensealg(name), 1e11; reltol = 1e-11, abstol = 1e-20)
    @test maximum(abs.(found[1:2, :] ./ AT_END[1:2, :] .- 1)) < 1e-5
    # The third state is nearly 1: what the other two lose, it has gained.
    @test maximum(abs.(found[3, :] ./ AT_END[3, :] .- 1)) < 1e-5
end

@testset "what would lose accuracy without a sign of it is refused" begin
    @test_throws "GaussAdjoint loses the accuracy" jacobian("FBDF", sensealg("GaussAdjoint"), 1.0; reltol = 1e-8, abstol = 1e-10)
    @test_throws "needs an exact Jacobian" jacobian("Rodas5P", sensealg("ForwardSensitivity"), 1.0; reltol = 1e-8, abstol = 1e-10)
end

# At t = 1e11 the shortest time that double precision resolves is 1.5e-5, longer than the first transient of the adjoint equation.
@testset "an adjoint that cannot be resolved fails with a sentence" begin
    @test_throws "the adjoint equation could not be solved back" jacobian(
        "FBDF", sensealg("InterpolatingAdjoint"), 1e11; reltol = 1e-10, abstol = 1e-18
    )
end

# A field that takes floating-point numbers alone, as a network in place or a callback does.
struct FloatsOnly{F} <: NDERegEngine.Field
    field::F
end
NDERegEngine.evaluate!(f::FloatsOnly, du::AbstractArray{Float64}, u::AbstractArray{Float64}, p, t::Float64, w) =
    evaluate!(f.field, du, u, p, t, w)
NDERegEngine.pullback!(f::FloatsOnly, gu, gp, λ::Array{Float64}, u::Array{Float64}, p, t::Float64, w) =
    pullback!(f.field, gu, gp, λ, u, p, t, w)

relaxation!(du, u, p, t) = (
    du[1] = p[1] * (cos(t) - u[1]) + u[2];
    du[2] = -p[2] * u[2] * u[1];
    nothing
)

@testset "$name through $method of a stiff equation, $label" for method in ("Rodas5P", "FBDF", "KenCarp4", "Rosenbrock23"),
    name in ("InterpolatingAdjoint", "QuadratureAdjoint", method == "FBDF" ? "GaussKronrodAdjoint" : "GaussAdjoint"), label in ("callable with dual numbers", "without")

    (method == "Rosenbrock23" || method == "KenCarp4") && name != "InterpolatingAdjoint" && continue
    # An implicit method that may not send dual numbers through the field.
    field = label == "without" ? FloatsOnly(FunctionField(relaxation!)) : FunctionField(relaxation!)
    p, u0, tspan = [1e3, 0.5], [0.0, 1.0], (0.0, 2.0)
    tight = algorithm("Rodas5P")
    state(p) = NDERegEngine.solve(FunctionField(relaxation!), p, u0, tspan; algorithm = tight, abstol = 1e-13, reltol = 1e-13).u1
    expected = map(1:2) do j
        step = 1e-3 * p[j]
        moved(s) = sum(abs2, state(p .+ (s * step) .* (1:2 .== j)))
        (8 * (moved(1) - moved(-1)) - (moved(2) - moved(-2))) / 12step
    end
    tolerance = method == "Rosenbrock23" ? 1e-7 : 1e-9
    record = NDERegEngine.solve(
        field, p, u0, tspan; algorithm = algorithm(method), abstol = tolerance, reltol = tolerance, keep_solution = true, maxiters = 10^6
    )
    gradient = continuous_adjoint(
        field, p, record, (; u1 = 2 .* record.u1, times = Float64[], saved = zeros(2, 0)); sensealg = sensealg(name),
        abstol = tolerance, reltol = tolerance, algorithm = algorithm(method)
    )
    # The dense output of stiff methods is of lower order than their steps, and the adjoint runs on it; these two have the
    # lowest, and the smaller derivative, 2e-6, shows it.
    limit = method in ("KenCarp4", "Rosenbrock23") ? 5e-3 : 1e-4
    @test norm((gradient.p .- expected) ./ expected, Inf) < limit
end
