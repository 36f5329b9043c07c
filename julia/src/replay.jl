# The reverse of a solve: its accepted steps are taken again, last one first, with cotangents carried backwards.
#
# With the step lengths frozen, as in the code of Pal et al. (ICML 2021), a step is a chain of nodes
# Y_j = u0 + dt Σ_i a_ji k_i with slopes k_j = f(Y_j, p, t + c_j dt). Its reverse needs one vector-Jacobian product of f per
# node; all the rest is linear in the slopes, but for the estimates of error and stiffness. The slope at the end of a step is
# that at the start of the next one: its cotangent is handed from step to step.

"""
    Node(u, k, g, h, w)

One evaluation within a step: state `u`, slope `k`, their cotangents `g` and `h`, and the field's workspace `w`.
"""
struct Node{U, W}
    u::U
    k::U
    g::U
    h::U
    w::W
end

Node(field::Field, like; w = workspace(field, like)) = Node(zero(like), zero(like), zero(like), zero(like), w)

"""
    Sweep

What a reverse sweep works with: the nodes of the step at hand, and the gradients so far. `gt0` and `gt1` are those of the
ends of the interval, `length` that of the step's length, which matters where it is the last one.
"""
mutable struct Sweep{F, P, T, N, I, U}
    const field::F
    const p::P
    const tableau::Tableau{I}
    const abstol::T
    const reltol::T
    const rms::Bool
    nodes::Vector{N}
    const start::U      # state at the start of the step
    const stop::U       # and at its end
    const gstart::U     # their cotangents
    const gstop::U
    const carried::U    # cotangent of the slope at the end of the step
    const next_slope::U # slope there, where the method itself does not evaluate it
    const room::NTuple{3, U}
    const gp::Vector{T}
    gt0::Float64
    gt1::Float64
    length::Float64
end

function Sweep(field, p, tableau, like; abstol, reltol, rms)
    T = eltype(like)
    nodes = [Node(field, like) for _ in eachindex(tableau.b)]
    return Sweep(
        field, p, tableau, T(abstol), T(reltol), rms, nodes, (zero(like) for _ in 1:6)...,
        (zero(like), zero(like), zero(like)), zeros(T, length(p)), 0.0, 0.0, 0.0
    )
end

"""
    discrete_adjoint(field, p, shape, tableau, record, cotangents; abstol, reltol, stiffness = "rms") -> NamedTuple

Gradient of a loss of a solve with respect to its initial state, parameters and times, exact for the numerical solution at
frozen step lengths: its steps are replayed in reverse.

# Arguments
- `shape`: of the state.
- `record`: named tuple with `t`, `dt` (per accepted step), `states` (length(u), count) and `kept`, as `solve` returns them.
  Where states are missing, the steps from the last one kept are taken again.
- `cotangents`: named tuple of
  - `u1`: of the final state, or nothing;
  - `times`, `saved`: of states at these times, matrix (length(u), length(times)); ends of the interval included;
  - `ends`: of the states at the start of the first and at the end of every step, matrix (length(u), steps + 1), or nothing;
  - `scaled_error`, `stiffness`: of the estimates, one entry per step, or nothing.

# Returns
`u0` (an array of the state's shape), `p`, `t0`, `t1`.
"""
function discrete_adjoint(field::Field, p, shape, tableau::Tableau, record, cotangents; abstol, reltol, stiffness = "rms")
    isempty(tableau.error) && !isnothing(cotangents.scaled_error) && throw(ArgumentError(
        "the error estimate of this method is no weighted sum of its stages, so it has no gradient; choose another method, such as Tsit5"
    ))
    states = record.states
    sweep = Sweep(field, p, tableau, similar(states, shape); abstol, reltol, rms = stiffness == "rms")
    count = length(record.t)
    between = Dict{Int, typeof(sweep.start)}()
    isnothing(cotangents.u1) || copyto!(sweep.gstop, cotangents.u1)
    has_next = false
    inside = points_by_step(record, cotangents.times)
    for n in count:-1:1
        check_cancelled()
        state_at!(sweep.start, between, sweep, record, n)
        outside = arriving(cotangents, inside, record, n)
        replay!(sweep, record.t[n], record.dt[n], has_next, !isempty(outside.inner))
        reverse!(sweep, record.t[n], record.dt[n], outside, has_next, n == count)
        has_next = true
    end
    # The slope at the start of the interval, and what arrives at its state from outside.
    count == 0 || tableau.stop == 0 || finish!(sweep, record.t[1])
    u0 = copy(sweep.gstop)
    for (i, time) in enumerate(cotangents.times)
        time == (count == 0 ? time : record.t[1]) && (vec(u0) .+= view(cotangents.saved, :, i))
    end
    isnothing(cotangents.ends) || (vec(u0) .+= view(cotangents.ends, :, 1))
    return (; u0, p = sweep.gp, t0 = sweep.gt0, t1 = sweep.gt1)
end

"Which save times lie in (t, t + dt] of each step."
function points_by_step(record, times)
    found = [Int[] for _ in record.t]
    isempty(times) && return found
    forward = record.stop > record.start
    for (i, time) in enumerate(times)
        # The last step that begins before this time.
        n = forward ? searchsortedfirst(record.t, time) - 1 : searchsortedfirst(record.t, time; rev = true) - 1
        n >= 1 && push!(found[n], i)
    end
    return found
end

"What arrives at step n from outside: cotangents inside it, at its end, and of its estimates."
function arriving(cotangents, inside, record, n)
    stop = n == length(record.t) ? record.stop : record.t[n + 1]
    points = inside[n]
    inner = filter(i -> cotangents.times[i] != stop, points)
    at_stop = filter(i -> cotangents.times[i] == stop, points)
    entry(x) = isnothing(x) ? 0.0 : Float64(x[n])
    return (;
        inner, at_stop, cotangents.times, cotangents.saved, cotangents.ends, index = n,
        scaled_error = entry(cotangents.scaled_error), stiffness = entry(cotangents.stiffness),
    )
end

# --- one step forwards

node_time(t, dt, c, T) = T(t) + T(c) * T(dt)

function evaluate_node!(sweep::Sweep, j, t, dt)
    T = eltype(sweep.start)
    node = sweep.nodes[j]
    evaluate!(sweep.field, node.k, node.u, sweep.p, node_time(t, dt, sweep.tableau.c[j], T), node.w)
    return nothing
end

"State of node j from the slopes before it."
function place_node!(sweep::Sweep, j, dt)
    weighted!(sweep.nodes[j].u, sweep.start, dt, view(sweep.tableau.a, j, :), sweep.nodes, j - 1)
    return nothing
end

# Elements that are summed at a time, so that they stay in the cache while all slopes are added.
const BLOCK = 2048

"`out .= base .+ dt Σ_{i <= count} weights[i] k_i`, in blocks that stay in the cache."
function weighted!(out, base, dt, weights, nodes, count)
    T = eltype(out)
    h = T(dt)
    for first in 1:BLOCK:length(out)
        block = first:min(first + BLOCK - 1, length(out))
        @inbounds @simd for i in block
            out[i] = base[i]
        end
        for j in 1:count
            weight = h * T(weights[j])
            weight == 0 && continue
            slope = nodes[j].k
            @inbounds @simd for i in block
                out[i] = muladd(weight, slope[i], out[i])
            end
        end
    end
    return out
end

"""
Take the step from `sweep.start` again. The node at its end, if the method has one, is the first node of the step after
it, which was replayed before; `with_interpolant` evaluates the interpolant's nodes too.
"""
function replay!(sweep::Sweep, t, dt, has_next, with_interpolant)
    (; tableau, nodes) = sweep
    if tableau.stop == 0
        copyto!(sweep.next_slope, nodes[1].k)
    elseif has_next
        # What was the start of the next step is the end of this one.
        nodes[tableau.stop], nodes[1] = nodes[1], nodes[tableau.stop]
    end
    copyto!(nodes[1].u, sweep.start)
    evaluate_node!(sweep, 1, t, dt)
    for j in 2:tableau.stages
        j == tableau.stop && has_next && continue
        place_node!(sweep, j, dt)
        evaluate_node!(sweep, j, t, dt)
    end
    if with_interpolant
        for j in (tableau.stages + 1):length(nodes)
            place_node!(sweep, j, dt)
            evaluate_node!(sweep, j, t, dt)
        end
    end
    if tableau.stop > 0
        copyto!(sweep.stop, nodes[tableau.stop].u)
    else
        weighted!(sweep.stop, sweep.start, dt, tableau.b, nodes, tableau.stages)
    end
    return nothing
end

# --- one step backwards

"""
Carry cotangents from the end of a step, `gstop` and (for the slope there) `carried`, to its start; they are left in the
same two places, for the step before it.
"""
function reverse!(sweep::Sweep, t, dt, outside, has_next, is_last)
    (; tableau, nodes) = sweep
    sweep.length = 0.0
    fill!(sweep.gstart, 0)
    foreach(node -> fill!(node.h, 0), nodes)
    isnothing(outside.ends) || add!(sweep.gstop, 1, view(outside.ends, :, outside.index + 1))
    for i in outside.at_stop
        cotangent = view(outside.saved, :, i)
        add!(sweep.gstop, 1, cotangent)
        # A save time stands still while the step's end moves with t0.
        is_last || (sweep.gt0 -= dot(cotangent, slope_at_stop(sweep)))
    end
    tableau.stop > 0 && has_next && add!(nodes[tableau.stop].h, 1, sweep.carried)
    outside.scaled_error == 0 || reverse_error!(sweep, dt, outside.scaled_error)
    has_inner = outside.stiffness != 0
    has_inner && reverse_stiffness!(sweep, outside.stiffness)
    for i in outside.inner
        reverse_interpolant!(sweep, t, dt, outside.times[i], view(outside.saved, :, i))
    end
    last = isempty(outside.inner) ? tableau.stages : length(nodes)
    # Without a node at its end, the end is one more point, before the interpolant's nodes.
    for j in last:-1:2
        j == tableau.stages && tableau.stop == 0 && is_last && add_length!(sweep, sweep.gstop, sweep.stop, dt)
        gather!(sweep, j, last, dt)
        pull!(sweep, j, t, dt, has_inner && j in tableau.pair)
        j == tableau.stop && add!(nodes[j].g, 1, sweep.gstop)
        # A node's state moves with the step's length by (Y - u0) / dt.
        is_last && add_length!(sweep, nodes[j].g, nodes[j].u, dt)
    end
    gather!(sweep, 1, last, dt)
    copyto!(sweep.carried, nodes[1].h)
    for j in 2:last
        add!(sweep.gstart, 1, nodes[j].g)
    end
    tableau.stop > 0 ? copyto!(sweep.gstop, sweep.gstart) : add!(sweep.gstop, 1, sweep.gstart)
    # Without a node at the end of a step, no other one takes this slope's cotangent.
    tableau.stop == 0 && finish!(sweep, t)
    if is_last
        sweep.gt1 += sweep.length
        sweep.gt0 -= sweep.length
    end
    return nothing
end

"Add what arrives at slope i from the states of the nodes after it, and from the end of the step, in blocks."
function gather!(sweep::Sweep, i, last, dt)
    (; tableau, nodes, gstop) = sweep
    h = nodes[i].h
    T = eltype(h)
    stop_weight = tableau.stop == 0 ? T(dt * tableau.b[i]) : zero(T)
    for first in 1:BLOCK:length(h)
        block = first:min(first + BLOCK - 1, length(h))
        if stop_weight != 0
            @inbounds @simd for k in block
                h[k] = muladd(stop_weight, gstop[k], h[k])
            end
        end
        for j in (i + 1):last
            weight = T(dt * tableau.a[j, i])
            weight == 0 && continue
            g = nodes[j].g
            @inbounds @simd for k in block
                h[k] = muladd(weight, g[k], h[k])
            end
        end
    end
    return nothing
end

"Vector-Jacobian product of f at node j, into its `g`; `has_inner` if something arrived there already."
function pull!(sweep::Sweep, j, t, dt, has_inner)
    node, c = sweep.nodes[j], sweep.tableau.c[j]
    inner = sweep.room[1]
    has_inner && copyto!(inner, node.g)
    if all(iszero, node.h)
        fill!(node.g, 0)
    else
        gt = pullback!(sweep.field, node.g, sweep.gp, node.h, node.u, sweep.p, node_time(t, dt, c, eltype(inner)), node.w)
        sweep.gt0 += gt
        sweep.length += gt * c
    end
    has_inner && add!(node.g, 1, inner)
    return nothing
end

function add!(out, weight, x)
    w = eltype(out)(weight)
    @inbounds @simd for i in eachindex(out, x)
        out[i] = muladd(w, x[i], out[i])
    end
    return out
end

function add_length!(sweep::Sweep, cotangent, state, dt)
    total = 0.0
    @inbounds @simd for i in eachindex(cotangent, state)
        total += cotangent[i] * (state[i] - sweep.start[i])
    end
    sweep.length += total / dt
    return nothing
end

"Pull the slope at the start of a step back, where no earlier step has it as its end."
function finish!(sweep::Sweep, t)
    node = sweep.nodes[1]
    room = sweep.room[1]
    gt = pullback!(sweep.field, room, sweep.gp, sweep.carried, node.u, sweep.p, node_time(t, 0, 0, eltype(room)), node.w)
    add!(sweep.gstop, 1, room)
    sweep.gt0 += gt
    fill!(sweep.carried, 0)
    return nothing
end

"f at the end of the step, which is not the last one."
slope_at_stop(sweep::Sweep) =
    vec(sweep.tableau.stop > 0 ? sweep.nodes[sweep.tableau.stop].k : sweep.next_slope)

include("replay/estimates.jl")
include("replay/states.jl")
