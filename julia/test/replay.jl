# The discrete adjoint against central differences on a fixed grid: states, save points, the ends of steps, both
# estimates; with respect to initial state, parameters and both ends of the interval.

using NDERegEngine, Test
include("problems.jl")

const TIMES = [0.3, 0.8, 1.7]
const COTANGENTS = (;
    u1 = [0.3, -0.7], saved = [0.2 0.5 -0.1; 0.4 0.3 0.8], ends = reshape(sin.(1:18), 2, 9),
    scaled_error = [0.1, -0.2, 0.3, 0.4, 0.5, 0.6, -0.7, 0.8], stiffness = [0.02, 0.1, -0.3, 0.04, 0.05, -0.06, 0.7, 0.1],
)

function check_gradient(method, stiffness, in_place)
    field = FunctionField(in_place ? lotka_volterra! : lotka_volterra)
    options = (; algorithm = method, abstol = 1e-2, reltol = 1e-2)
    run(x; extra...) = solve(
        field, x[3:6], x[1:2], (x[7], x[8]); options..., saveat = TIMES, dt = 0.25, adaptive = false, keep_states = true,
        stiffness, extra...
    )
    point = [1.0; 1.0; RATES; 0.0; 1.9]
    found = run(point)
    has_error, has_stiffness = !isnan(found.scaled_error[1]), !isnan(found.stiffness[1])
    function loss(x)
        r = run(x)
        total = sum(COTANGENTS.u1 .* r.u1) + sum(COTANGENTS.saved .* reduce(hcat, r.saved)) + sum(COTANGENTS.ends .* r.states)
        has_error && (total += sum(COTANGENTS.scaled_error .* r.scaled_error))
        has_stiffness && (total += sum(COTANGENTS.stiffness .* r.stiffness))
        return total
    end
    expected = map(eachindex(point)) do i
        step = zeros(8)
        step[i] = 1e-5
        (loss(point + step) - loss(point - step)) / 2e-5
    end
    arriving = (;
        COTANGENTS.u1, times = TIMES, COTANGENTS.saved, COTANGENTS.ends,
        scaled_error = has_error ? COTANGENTS.scaled_error : nothing,
        stiffness = has_stiffness ? COTANGENTS.stiffness : nothing,
    )
    for checkpoints in (0, 2)
        r = run(point; checkpoints)
        record = (; r.t, r.dt, r.states, r.kept, start = 0.0, stop = 1.9)
        gradient = discrete_adjoint(
            field, RATES, (2,), NDERegEngine.tableau_of(method), record, arriving; abstol = 1e-2, reltol = 1e-2, stiffness
        )
        @test [gradient.u0; gradient.p; gradient.t0; gradient.t1] ≈ expected rtol = 1e-5 atol = 1e-4
    end
    return nothing
end

@testset "$name" for name in ("euler", "midpoint", "heun", "rk4", "Ralston", "bs3", "tsit5", "dp5", "OwrenZen3", "vern7")
    check_gradient(algorithm(name), "rms", true)
end

@testset "the largest ratio as stiffness" begin
    check_gradient(algorithm("tsit5"), "max", true)
end

@testset "out of place" begin
    check_gradient(algorithm("tsit5"), "rms", false)
end

@testset "an error estimate that is no sum of stages has no gradient, which is said" begin
    table = NDERegEngine.tableau_of(algorithm("BS5"))
    record = (; t = [0.0], dt = [0.1], states = zeros(2, 1), kept = [1], start = 0.0, stop = 0.1)
    arriving = (; u1 = nothing, times = Float64[], saved = zeros(2, 0), ends = nothing, scaled_error = [1.0], stiffness = nothing)
    @test isempty(table.error)
    @test_throws "has no gradient" discrete_adjoint(FunctionField(lotka_volterra!), RATES, (2,), table, record, arriving; abstol = 1.0, reltol = 1.0)
end
