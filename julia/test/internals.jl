# A canary for each name in src/internals.jl: when one fails after an update of the packages, that file is to be changed.

using Test
import OrdinaryDiffEqCore, SciMLBase
using NDERegEngine: NDERegEngine, FunctionField, algorithm
using OrdinaryDiffEqTsit5: AutoTsit5, Tsit5
include("problems.jl")

function first_steps(method; count = 3, tolerance = 1e-4, options...)
    problem = SciMLBase.ODEProblem{true, SciMLBase.FullSpecialize}(van_der_pol!, [2.0, 0.0], (0.0, 5.0))
    integrator = SciMLBase.init(problem, method; abstol = tolerance, reltol = tolerance, options...)
    foreach(_ -> SciMLBase.step!(integrator), 1:count)
    return integrator
end

"The error of a step by the formula, from the tableau."
function error_by_formula(method, integrator, tolerance)
    table = NDERegEngine.tableau_of(method)
    u0, dt, slopes = integrator.uprev, integrator.t - integrator.tprev, Vector{Float64}[]
    for j in 1:table.stages
        u = u0 .+ dt .* sum((table.a[j, i] .* slopes[i] for i in 1:(j - 1)); init = zero(u0))
        du = similar(u0)
        van_der_pol!(du, u, nothing, 0.0)
        push!(slopes, du)
    end
    error = dt .* sum(table.error[i] .* slopes[i] for i in 1:table.stages)
    scale = tolerance .+ tolerance .* max.(abs.(u0), abs.(integrator.u))
    return sqrt(sum(abs2, error ./ scale) / length(u0))
end

@testset "scaled_error is the root mean square of the error in units of the tolerance: $name" for name in ("bs3", "dp5", "tsit5", "vern7", "vern9")
    method = algorithm(name)
    integrator = first_steps(method)
    @test NDERegEngine.scaled_error(integrator) ≈ error_by_formula(method, integrator, 1e-4) rtol = 1e-6
end

@testset "the cache of Tsit5 holds the last two stages, and a switching algorithm estimates stiffness from them" begin
    plain, switching = first_steps(Tsit5()), first_steps(AutoTsit5(Tsit5()))
    @test NDERegEngine.is_composite(switching.alg) && !NDERegEngine.is_composite(plain.alg)
    k, l, g, h = NDERegEngine.stage_pair(plain.cache, plain.u)
    @test maximum(abs.((k .- l) ./ (g .- h))) ≈ NDERegEngine.own_stiffness(switching) rtol = 1e-10
    @test NDERegEngine.stiffness_ratio(Val(false), k, l, g, h) ≈ NDERegEngine.own_stiffness(switching) rtol = 1e-10
end

@testset "what is known of an algorithm" begin
    rodas, euler = algorithm("Rodas5P"), algorithm("euler")
    @test NDERegEngine.is_implicit(rodas) && !NDERegEngine.is_implicit(Tsit5())
    @test NDERegEngine.error_order(Tsit5()) === 5.0 && isnan(NDERegEngine.error_order(algorithm("QNDF")))
    @test NDERegEngine.is_adaptive(Tsit5()) && !NDERegEngine.is_adaptive(euler)
    @test NDERegEngine.is_explicit_runge_kutta(Tsit5()) && !NDERegEngine.is_explicit_runge_kutta(rodas)
    @test !NDERegEngine.is_explicit_runge_kutta(AutoTsit5(Tsit5()))
    @test rodas.autodiff isa NDERegEngine.ADTypes.AutoForwardDiff
    @test NDERegEngine.without_duals(rodas).autodiff isa NDERegEngine.ADTypes.AutoFiniteDiff
    chosen = NDERegEngine.without_duals(algorithm("AutoTsit5"; stiff = "Rosenbrock23"))
    @test chosen.algs[2].autodiff isa NDERegEngine.ADTypes.AutoFiniteDiff
end

@testset "a lazy interpolant can be made eager" begin
    @test algorithm("vern7").lazy === Val(true)
    @test NDERegEngine.eager(algorithm("vern7")).lazy === Val(false)
    @test NDERegEngine.eager(Tsit5()) === Tsit5()
end

@testset "steps of one length are all accepted, with their errors, and the last one is cut" begin
    seen = Float64[]
    condition(u, t, integrator) = (NDERegEngine.restore_step_length!(integrator); push!(seen, integrator.dt); false)
    callback = SciMLBase.DiscreteCallback(condition, identity; save_positions = (false, false))
    problem = SciMLBase.ODEProblem{true, SciMLBase.FullSpecialize}(van_der_pol!, [2.0, 0.0], (0.0, 1.0))
    SciMLBase.solve(problem, Tsit5(); abstol = 1e-9, reltol = 1e-9, dt = 0.3, dtmin = 0.3, dtmax = 0.3, force_dtmin = true, callback)
    @test seen ≈ [0.3, 0.3, 0.3, 0.1]
end
