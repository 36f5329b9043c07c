using NDERegEngine, Test

@testset "the tableau read off $name meets the order conditions up to order $order" for (name, order) in
        (("euler", 1), ("midpoint", 2), ("heun", 2), ("Ralston", 2), ("bs3", 3), ("rk4", 4), ("tsit5", 5), ("dp5", 5), ("BS5", 5), ("vern7", 7), ("vern9", 9), ("DP8", 8))
    table = NDERegEngine.tableau_of(algorithm(name))
    (; a, b, c) = table
    @test sum(b) ≈ 1 atol = 1e-12
    @test all(a[i, j] == 0 for i in axes(a, 1) for j in i:size(a, 2))
    @test vec(sum(a; dims = 2)) ≈ c atol = 1e-12
    # Quadrature conditions, and the bushy tree of height three.
    @test all(isapprox(sum(b .* c .^ (k - 1)), 1 / k; atol = 1e-11) for k in 1:min(order, 8))
    order < 3 || @test sum(b .* (a * c)) ≈ 1 / 6 atol = 1e-11
    order < 4 || @test sum(b .* (a * c .^ 2)) ≈ 1 / 12 atol = 1e-11
    isempty(table.error) || @test sum(table.error) ≈ 0 atol = 1e-10
end

@testset "the interpolant of $name begins at the start of the step, ends at its end and moves with its slope" for name in ("euler", "bs3", "dp5", "tsit5", "vern7", "vern9")
    table = NDERegEngine.tableau_of(algorithm(name))
    start, speed = table.interpolant(0.0)
    stop, _ = table.interpolant(1.0)
    @test all(isapprox.(start, 0; atol = 1e-12))
    @test stop ≈ table.b atol = 1e-10
    @test speed ≈ [1.0; zeros(length(table.b) - 1)] atol = 1e-9
    h = 1e-6
    (later, _), (earlier, _), (_, slope) = table.interpolant.((0.4 + h, 0.4 - h, 0.4))
    @test (later .- earlier) ./ 2h ≈ slope atol = 1e-7
end

@testset "a method that takes no explicit Runge–Kutta steps is refused in one sentence" begin
    @test_throws "FBDF is no explicit Runge–Kutta method" tableau(algorithm("FBDF"))
end
