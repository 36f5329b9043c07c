using NDERegEngine, Random, Test

stochastic_algorithm("em")  # loads StochasticDiffEq

"A path on a grid: increments and areas drawn once, and given out by index."
struct GridPath
    times::Vector{Float64}
    W::Matrix{Float64}
    Z::Matrix{Float64}
    asked::Vector{Tuple{Float64, Float64}}
end

function GridPath(seed, noises, steps; t1 = 1.0)
    rng, dt = Xoshiro(seed), t1 / steps
    W = hcat(zeros(noises), cumsum(sqrt(dt) .* randn(rng, noises, steps); dims = 2))
    return GridPath(collect(range(0, t1; length = steps + 1)), W, sqrt(dt) .* randn(rng, noises, steps), Tuple{Float64, Float64}[])
end

place(path, t) = argmin(abs.(path.times .- t))

function (path::GridPath)(dW, dZ, s, t)
    push!(path.asked, (s, t))
    i, j = place(path, s), place(path, t)
    vec(dW) .= path.W[:, j] .- path.W[:, i]
    vec(dZ) .= sqrt(j - i) .* path.Z[:, min(i, end)]
    return nothing
end

const NOTHING = Float64[]
bound(f, shape; p = NOTHING) = Bound(FunctionField(f), p, shape)
decay = bound((du, u, p, t) -> (du .= -u; nothing), (2,))
relative = bound((du, u, p, t) -> (du .= 0.3 .* u; nothing), (2,))

solved(path, name; f = decay, g = relative, u0 = [1.0, 2.0], tspan = (0.0, 1.0), algorithm = stochastic_algorithm(name), options...) =
    solve_stochastic(f, g, u0, tspan; path, algorithm, abstol = 1e-3, reltol = 1e-3, options...)

@testset "steps of one length ask for their own increments and are those of the formula" begin
    path = GridPath(1, 2, 64)
    found = solved(path, "em"; dt = 1 / 64, keep_states = true)
    u = [1.0, 2.0]
    for i in 1:64
        @test found.states[:, i] ≈ u rtol = 1e-12
        u = u .- u ./ 64 .+ 0.3 .* u .* (path.W[:, i + 1] .- path.W[:, i])
    end
    @test found.u1 ≈ u rtol = 1e-12
    @test (length(found.t), found.evaluations, found.diffusion_evaluations) == (64, 64, 64)
    @test found.t ≈ path.times[1:64] && all(isnan, found.scaled_error) && found.retcode === :Success
    @test first.(path.asked) ≈ path.times[1:64] && last.(path.asked) ≈ path.times[2:65]
end

@testset "$name with steps of one length accepts them all with their errors, and the last one is cut" for name in ("sra1", "sosra", "sriw1", "sosri", "sosri2")
    g = name in ("sra1", "sosra") ? bound((du, u, p, t) -> (du .= 0.3; nothing), (2,)) : relative
    found = solved(GridPath(2, 2, 10), name; g, dt = 0.3, adaptive = false)
    @test found.dt ≈ [0.3, 0.3, 0.3, 0.1]
    @test found.rejected == 0 && all(isfinite, found.scaled_error)
    @test all(isfinite, found.stiffness) == (name == "sosri2")
    name == "sosri2" && @test found.stiffness ≈ ones(4) rtol = 1e-9
end

@testset "an adaptive solve asks again from where a step was rejected, and follows the path" begin
    # Between the times of a fine grid nothing is known, so that solves differ by its spacing.
    path = GridPath(3, 2, 2^14)
    found = solved(path, "sosri"; dt = 0.5)
    exact = [1.0, 2.0] .* exp.(-(1 + 0.3^2 / 2) .+ 0.3 .* path.W[:, end])
    @test found.retcode === :Success && found.rejected > 0
    @test found.u1 ≈ exact rtol = 0.02
    @test all(found.scaled_error .<= 1)
    @test length(path.asked) == length(found.t) + found.rejected
    starts = unique(first.(path.asked))
    @test starts ≈ found.t
end

function fill_values(samples::Int64, t::Float64, u::Ptr{Float64}, values::Ptr{Float64})
    into = unsafe_wrap(Array, values, (3, 2, samples))
    into .= [0.1 0.4; 0.2 0.5; 0.3 0.6]
    return Cint(0)
end

@testset "general noise: every sample has its own block" for samples in (1, 2)
    # Two features, three noises; the callback's memory is (noises, features, samples).
    matrix = [0.1 0.2 0.3; 0.4 0.5 0.6]
    evaluate = @cfunction(fill_values, Cint, (Int64, Float64, Ptr{Float64}, Ptr{Float64}))
    field = CallbackField(evaluate, C_NULL, samples)
    path = GridPath(4, 3 * samples, 8)
    drift = bound((du, u, p, t) -> (du .= 0; nothing), (2, samples))
    u0 = zeros(2 * samples)
    for name in ("em", "heun")
        found = solved(path, name; f = drift, g = GeneralDiffusion(field, Float64, 3, 2, samples), u0, dt = 1 / 8)
        @test reshape(found.u1, 2, samples) ≈ matrix * reshape(path.W[:, end], 3, samples) rtol = 1e-12
    end
    found = solved(path, "LambaEM"; f = drift, g = GeneralDiffusion(field, Float64, 3, 2, samples), u0, dt = 1 / 8, adaptive = false)
    @test reshape(found.u1, 2, samples) ≈ matrix * reshape(path.W[:, end], 3, samples) rtol = 1e-12
end

@testset "what was asked to be saved lies on the lines between steps, and float32 stays float32" begin
    found = solved(GridPath(5, 2, 4), "em"; dt = 0.25, saveat = [0.375, 0.5], keep_states = true)
    @test found.saved[1] ≈ (found.states[:, 2] .+ found.states[:, 3]) ./ 2 && found.saved[2] ≈ found.states[:, 3]
    f, g = (bound((du, u, p, t) -> (du .= -p[1] .* u .* t; nothing), (2,); p = Float32[1]) for _ in 1:2)
    single = solve_stochastic(
        f, g, Float32[1, 2], (0.0, 1.0); path = GridPath(5, 2, 4), algorithm = stochastic_algorithm("sosri"),
        abstol = 1e-2, reltol = 1e-2, dt = 0.25, adaptive = false
    )
    @test eltype(single.u1) === Float32 && single.retcode === :Success
end

@testset "how a solve ends" begin
    path = GridPath(6, 2, 64)
    short = solved(path, "em"; dt = 1 / 64, maxiters = 10)
    @test short.retcode === :MaxIters && length(short.t) == 10
    blown = bound((du, u, p, t) -> (du .= t < 0.5 ? 0.0 : NaN; nothing), (2,))
    @test solved(path, "em"; f = blown, dt = 1 / 64).retcode in (:Unstable, :DtNaN)
    # Ever shorter steps come ever closer to where the drift ends.
    stuck = solved(GridPath(6, 2, 2^10), "sosri"; f = blown)
    @test stuck.retcode in (:Unstable, :DtNaN, :DtLessThanMin) && stuck.t_reached ≈ 0.5
end

@testset "an algorithm of another interpretation, kind of noise or name is refused in a sentence" begin
    path = GridPath(7, 2, 4)
    @test_throws "EM solves Itô equations" solved(path, "em"; dt = 0.25, interpretation = "stratonovich")
    @test_throws "EulerHeun solves Stratonovich equations" solved(path, "heun"; dt = 0.25, interpretation = "ito")
    @test_throws "no algorithm \"SOSRJ\"" stochastic_algorithm("SOSRJ")
    @test_throws "no algorithm \"Tsit5\"" stochastic_algorithm("Tsit5")
    @test_throws "interpretation is \"both\"" stochastic_algorithm("RKMil"; interpretation = "both")
    @test_throws "pass dt" solved(path, "em")
    chosen = stochastic_algorithm("RKMil"; interpretation = "stratonovich")
    @test solved(GridPath(7, 2, 4), ""; algorithm = chosen, dt = 0.25, estimates = false, interpretation = "stratonovich").retcode === :Success
end

@testset "implicit and other adaptive algorithms are there by name: $name" for name in ("SKenCarp", "LambaEM", "ImplicitEM", "SROCK1", "SRIW2")
    additive = bound((du, u, p, t) -> (du .= 0.1; nothing), (2,))
    algorithm = stochastic_algorithm(name)
    adaptive = NDERegEngine.has_stochastic_estimate(algorithm)
    found = solved(GridPath(8, 2, 2^12), name; g = additive, dt = adaptive ? nothing : 1 / 64)
    @test found.retcode === :Success
    @test found.u1 ≈ [1.0, 2.0] .* exp(-1) atol = 0.3
end
