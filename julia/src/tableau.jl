# Tableaus of explicit Runge–Kutta methods, read off the solvers themselves.

"""
    Tableau

An explicit Runge–Kutta method with its interpolant's extra stages: node j is Y_j = u0 + dt Σ_i a[j, i] k_i at t + c[j] dt.

- `a`: strictly lower triangular. Shape (nodes, nodes).
- `b`: weights of the step, u1 = u0 + dt Σ b_i k_i. Shape (nodes,).
- `c`: nodes. Shape (nodes,).
- `error`: weights of the local error estimate; empty if the method has none, or one that is no such sum. Shape (nodes,).
- `stop`: the node that is the end of the step, if the method evaluates its slope as its last stage; else 0.
- `stages`: number of nodes that a step needs; the further ones belong to the interpolant.
- `interpolant`: weights(θ) and their derivatives, shape (nodes,).
- `pair`: stages with equal nodes, by which stiffness is estimated; (0, 0) if there are none.
"""
struct Tableau{I}
    a::Matrix{Float64}
    b::Vector{Float64}
    c::Vector{Float64}
    error::Vector{Float64}
    stop::Int
    stages::Int
    interpolant::I
    pair::Tuple{Int, Int}
end

const MOST_NODES = 64

"""
    tableau(algorithm; adaptive = true) -> Tableau

The tableau of an explicit Runge–Kutta method of OrdinaryDiffEq.

One step of length 1 from u = 0 is taken on a right-hand side whose n-th evaluation returns the n-th unit vector. The points
at which it is evaluated are then the rows of a, its end is b, its error estimate the error weights, and its interpolant the
interpolant's weights: no table is copied, and none can disagree with the solver. `adaptive = false` leaves the error out.

# Errors
`ArgumentError` if the algorithm is no explicit Runge–Kutta method.
"""
function tableau(algorithm; adaptive = true)
    is_explicit_runge_kutta(algorithm) || throw(ArgumentError(
        "$(nameof(typeof(algorithm))) is no explicit Runge–Kutta method, whose steps could be replayed; " *
        "choose one, such as Tsit5, or a continuous adjoint"
    ))
    points, times = Vector{Float64}[], Float64[]
    function unit_vectors(du, u, p, t)
        push!(points, copy(u)); push!(times, t)
        fill!(du, 0); du[length(points)] = 1
        return nothing
    end
    residuals = Vector{Float64}[]
    capture(x::Number, t) = abs(x)
    # Before the first evaluation it is the initial state whose norm is taken.
    capture(x, t) = (isempty(points) || push!(residuals, copy(x)); 0.5)
    problem = SciMLBase.ODEProblem{true, SciMLBase.FullSpecialize}(unit_vectors, zeros(MOST_NODES), (0.0, 1.0))
    adaptive &= is_adaptive(algorithm)
    # `controller` is left alone: with an error of 0.5 the step is accepted.
    solution = SciMLBase.solve(
        problem, eager(algorithm); dt = 1.0, adaptive, abstol = 1.0, reltol = 0.0, internalnorm = capture, dense = true
    )
    length(solution.t) == 2 || error("the probe of $(nameof(typeof(algorithm))) took $(length(solution.t) - 1) steps instead of one")
    # Some methods make their estimate of several residuals, which no weights of one sum describe.
    error = length(residuals) == 1 ? only(residuals) : Float64[]
    return reduced(points, times, solution, error, stiffness_stages(algorithm))
end

"Drop evaluations that nothing uses (a second one at the start, or one after the step), and number the others."
function reduced(points, times, solution, error, pair)
    count = length(points)
    b = solution.u[end][1:count]
    probes = [solution(θ)[1:count] for θ in (0.21, 0.46, 0.83)]
    used(i) = b[i] != 0 || (!isempty(error) && error[i] != 0) || any(w[i] != 0 for w in probes) ||
        any(point[i] != 0 for point in points)
    kept = filter(used, 1:count)
    c = times[kept]
    a = [points[j][i] for j in kept, i in kept]
    b = b[kept]
    interpolant(θ) = (solution(θ)[kept], solution(θ, Val{1})[kept])
    needed = findlast(j -> b[j] != 0 || (!isempty(error) && error[kept[j]] != 0), eachindex(kept))
    stages = max(needed, isnothing(pair) ? 0 : maximum(pair))
    # Methods without an embedded pair evaluate the end of the step for their Hermite interpolant.
    stop = findfirst(j -> j > 1 && c[j] == 1 && isapprox(a[j, :], b; atol = 1e-12), eachindex(kept))
    is_end = !isnothing(stop) && stop >= stages
    all(isapprox(sum(a[j, :]), c[j]; atol = 1e-12) for j in eachindex(kept)) && isapprox(sum(b), 1; atol = 1e-12) ||
        throw(ArgumentError("a step of this method is no combination of its stages, so it cannot be replayed"))
    return Tableau(
        a, b, c, isempty(error) ? error : error[kept], is_end ? stop : 0, is_end ? stop : stages, interpolant,
        isnothing(pair) ? (0, 0) : pair
    )
end
