# A canary for each name in ext/NDERegEngineStochasticDiffEqExt/internals.jl: when one fails after an update of the packages,
# that file is to be changed.

using NDERegEngine, Test
using NDERegEngine: stochastic_algorithm
import SciMLBase, StochasticDiffEq

stochastic_algorithm("em")
const EXT = Base.get_extension(NDERegEngine, :NDERegEngineStochasticDiffEqExt)

@testset "what is known of an algorithm" begin
    @test EXT.is_algorithm_type(StochasticDiffEq.SOSRI) && !EXT.is_algorithm_type(StochasticDiffEq.RandomEM)
    @test EXT.is_adaptive(StochasticDiffEq.SOSRI()) && !EXT.is_adaptive(StochasticDiffEq.EM())
    @test EXT.interpretation(StochasticDiffEq.EM()) == "ito"
    @test EXT.interpretation(StochasticDiffEq.EulerHeun()) == "stratonovich"
    @test EXT.interpretation(stochastic_algorithm("RKMil"; interpretation = "stratonovich")) == "stratonovich"
    @test !EXT.needs_other_noise(StochasticDiffEq.SOSRI(), zeros(3)) && !EXT.needs_other_noise(StochasticDiffEq.EM(), zeros(3))
    @test EXT.needs_other_noise(StochasticDiffEq.W2Ito1(), zeros(3))
end

ones!(du, u, p, t) = (fill!(du, 1); nothing)

"An integrator of du = dW, and the intervals for which its path was asked."
function prepared(algorithm; options...)
    asked = Tuple{Float64, Float64}[]
    path = (dW, dZ, s, t) -> (push!(asked, (s, t)); fill!(dW, t - s); fill!(dZ, 0); nothing)
    process = EXT.HostProcess(path, zeros(2), 0.0, 1.0)
    problem = EXT.stochastic_problem((du, u, p, t) -> fill!(du, 0), ones!, zeros(2), (0.0, 1.0), process; noise_rate_prototype = nothing)
    @test EXT.solves(algorithm, problem)
    return SciMLBase.init(problem, algorithm; options...), asked
end

@testset "the integrator asks the process for every step that it sets up" begin
    integrator, asked = prepared(StochasticDiffEq.EM(); dt = 0.4)
    @test integrator.W isa EXT.HostProcess && asked == [(0.0, 0.4)]
    SciMLBase.solve!(integrator)
    @test first.(asked) ≈ [0.0, 0.4, 0.8] && last.(asked) ≈ [0.4, 0.8, 1.0]
    @test integrator.u ≈ [1.0, 1.0]
    @test integrator.W.curt == 1.0
end

@testset "a rejected step asks again from its start" begin
    integrator, asked = prepared(StochasticDiffEq.SOSRI(); dt = 0.4, abstol = 1e-8, reltol = 1e-8)
    SciMLBase.step!(integrator)
    @test asked[1] == (0.0, 0.4)
    SciMLBase.solve!(integrator)
    @test integrator.u ≈ [1.0, 1.0]
    @test length(asked) == integrator.stats.naccept + integrator.stats.nreject
end

@testset "the recorded error is the solver's own" begin
    integrator, _ = prepared(StochasticDiffEq.SOSRI(); dt = 0.1)
    SciMLBase.step!(integrator)
    @test isfinite(NDERegEngine.scaled_error(integrator))
end
