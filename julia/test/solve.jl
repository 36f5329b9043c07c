using NDERegEngine, Test
using OrdinaryDiffEqTsit5: Tsit5
import SciMLBase
include("problems.jl")

const DECAY = FunctionField(decay!)
solved(field, u0, tspan; algorithm = NDERegEngine.algorithm("tsit5"), tolerance = 1e-6, options...) =
    solve(field, Float64[], u0, tspan; algorithm, abstol = tolerance, reltol = tolerance, options...)

@testset "$name converges with its order" for (name, order) in (("euler", 1), ("midpoint", 2), ("heun", 2), ("bs3", 3), ("rk4", 4), ("tsit5", 5), ("dp5", 5), ("vern7", 7))
    lengths = order > 5 ? [0.4, 0.32, 0.2, 0.16] : [0.2, 0.1, 0.05, 0.025]
    errors = [abs(solved(DECAY, [1.0], (0.0, 3.2); algorithm = algorithm(name), dt, adaptive = false).u1[1] - exp(-3.2)) for dt in lengths]
    slope = log(errors[1] / errors[end]) / log(lengths[1] / lengths[end])
    @test slope ≈ order atol = 0.35
end

@testset "the record says what OrdinaryDiffEq did" begin
    field = FunctionField(van_der_pol!)
    found = solved(field, [2.0, 0.0], (0.0, 4.0); keep_states = true, saveat = [1.0, 2.5])
    problem = SciMLBase.ODEProblem{true, SciMLBase.FullSpecialize}(van_der_pol!, [2.0, 0.0], (0.0, 4.0))
    theirs = SciMLBase.solve(problem, Tsit5(); abstol = 1e-6, reltol = 1e-6)
    @test found.t == theirs.t[1:(end - 1)]
    @test found.t .+ found.dt ≈ theirs.t[2:end]
    @test found.states ≈ reduce(hcat, theirs.u)
    @test found.u1 == theirs.u[end]
    @test (length(found.t), found.rejected, found.evaluations) == (theirs.stats.naccept, theirs.stats.nreject, theirs.stats.nf)
    @test all(0 .< found.scaled_error .<= 1)
    @test found.saved[1] ≈ theirs(1.0) && found.saved[2] ≈ theirs(2.5)
    @test found.retcode === :Success && isempty(found.messages)
end

@testset "states may be matrices of either precision, and time may run backwards" for T in (Float32, Float64)
    u0 = reshape(T.(1:6), 2, 3)
    found = solve(DECAY, T[], u0, (1.0, 0.0); algorithm = algorithm("tsit5"), abstol = 1e-6, reltol = 1e-6)
    @test eltype(found.u1) === T && size(found.u1) == (2, 3)
    @test found.u1 ≈ u0 .* exp(1.0) rtol = 1e-5
    @test all(found.dt .< 0) && found.t_reached == 0
end

@testset "a solve that fails returns what it had" begin
    short = solved(DECAY, [1.0], (0.0, 5.0); maxiters = 4, tolerance = 1e-10)
    @test short.retcode === :MaxIters && 0 < short.t_reached < 5
    @test short.u1[1] ≈ exp(-short.t_reached)
    stuck = solved(FunctionField((du, u, p, t) -> (du .= t < 0.5 ? 1.0 : NaN; nothing)), [1.0], (0.0, 1.0))
    @test stuck.retcode in (:Unstable, :DtNaN) && stuck.t_reached ≈ 0.5 && all(isfinite, stuck.u1)
end

@testset "a flag stops a solve" begin
    flag = Ref(Int32(1))
    NDERegEngine.Bridge.set_cancel_flag(UInt(Base.unsafe_convert(Ptr{Int32}, flag)))
    @test_throws NDERegEngine.Interrupted solved(DECAY, [1.0], (0.0, 1.0))
    flag[] = 0
    @test solved(DECAY, [1.0], (0.0, 1.0)).retcode === :Success
    NDERegEngine.CANCEL_FLAG[] = C_NULL
end

@testset "checkpoints keep at most their number of states" begin
    found = solved(FunctionField(van_der_pol!), [2.0, 0.0], (0.0, 8.0); keep_states = true, checkpoints = 5)
    @test length(found.kept) <= 5 && found.kept[1] == 1 && size(found.states) == (2, length(found.kept))
end
