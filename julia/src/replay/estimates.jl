# The reverse of what a step leaves besides its end: the estimates of error and stiffness, and states inside it.

"""
E = sqrt(mean((e / (atol + rtol max(|u0|, |u1|)))²)) with e = dt Σ_i error_i k_i: Hairer, Nørsett and Wanner,
eq. (II.4.11).
"""
function reverse_error!(sweep::Sweep, dt, cotangent)
    (; tableau, nodes, start, stop) = sweep
    T = eltype(start)
    error, gerror = sweep.room[2], sweep.room[3]
    fill!(gerror, 0)
    weighted!(error, gerror, dt, tableau.error, nodes, tableau.stages)
    scale(i) = sweep.abstol + max(abs(start[i]), abs(stop[i])) * sweep.reltol
    total = zero(T)
    for i in eachindex(error)
        total += abs2(error[i] / scale(i))
    end
    total == 0 && return nothing
    factor = T(cotangent) / sqrt(total * length(error))
    for i in eachindex(error)
        s = scale(i)
        ratio = error[i] / s
        gerror[i] = factor * ratio / s
        gscale = -gerror[i] * ratio * sweep.reltol
        before, after = abs(start[i]), abs(stop[i])
        # Where both are equal, each takes half.
        share = before > after ? one(T) : before < after ? zero(T) : T(0.5)
        sweep.gstart[i] += gscale * share * sign(start[i])
        sweep.gstop[i] += gscale * (1 - share) * sign(stop[i])
    end
    for i in 1:tableau.stages
        tableau.error[i] == 0 || add!(nodes[i].h, dt * tableau.error[i], gerror)
    end
    sweep.length += dot(gerror, error) / dt
    return nothing
end

"S = ||k_p - k_q|| / ||Y_p - Y_q||, or the largest element-wise ratio."
function reverse_stiffness!(sweep::Sweep, cotangent)
    p, q = (sweep.nodes[j] for j in sweep.tableau.pair)
    fill!(p.g, 0); fill!(q.g, 0)
    T = eltype(p.k)
    if sweep.rms
        slopes = states = zero(T)
        for i in eachindex(p.k)
            slopes += abs2(p.k[i] - q.k[i])
            states += abs2(p.u[i] - q.u[i])
        end
        (slopes == 0 || states == 0) && return nothing
        forward = T(cotangent) / sqrt(slopes * states)
        backward = -T(cotangent) * sqrt(slopes) / (states * sqrt(states))
        for i in eachindex(p.k)
            difference, moved = forward * (p.k[i] - q.k[i]), backward * (p.u[i] - q.u[i])
            p.h[i] += difference; q.h[i] -= difference
            p.g[i] += moved; q.g[i] -= moved
        end
    else
        largest, index = zero(T), 0
        for i in eachindex(p.k)
            d = p.u[i] - q.u[i]
            d == 0 && continue
            ratio = abs((p.k[i] - q.k[i]) / d)
            ratio > largest && ((largest, index) = (ratio, i))
        end
        index == 0 && return nothing
        d, s = p.u[index] - q.u[index], p.k[index] - q.k[index]
        difference = T(cotangent) * sign(s) / abs(d)
        moved = -T(cotangent) * abs(s) * sign(d) / abs2(d)
        p.h[index] += difference; q.h[index] -= difference
        p.g[index] += moved; q.g[index] -= moved
    end
    return nothing
end

"u(t + θ dt) = u0 + dt Σ_i b_i(θ) k_i."
function reverse_interpolant!(sweep::Sweep, t, dt, time, cotangent)
    (; nodes, tableau) = sweep
    θ = (time - t) / dt
    weights, speeds = tableau.interpolant(θ)
    add!(sweep.gstart, 1, cotangent)
    velocity = moved = 0.0
    for (j, node) in enumerate(nodes)
        weights[j] == 0 && speeds[j] == 0 && continue
        add!(node.h, dt * weights[j], cotangent)
        along = dot(cotangent, node.k)
        velocity += speeds[j] * along
        moved += weights[j] * along
    end
    # A save time stands still while the step's start and length move.
    sweep.gt0 -= velocity
    sweep.length += moved - θ * velocity
    return nothing
end
