# What is kept of every accepted step, seen by a callback that changes nothing.

"""
    Recorder

Keeps the record of accepted steps and the states at their starts.

- `rows`: t, dt, scaled error and stiffness of each step, one step after the other.
- `states`: the states kept, one after the other; `kept`: the indices of the steps that they begin. With `keep_states` all
  of them and, after the solve, the last state too; with `checkpoints` at most that many.
- `first_rejected`: how often the first step was tried before it was accepted.
"""
mutable struct Recorder{T, S}
    const rows::Vector{Float64}
    const states::Vector{T}
    const kept::Vector{Int}
    const keep_states::Bool
    const checkpoints::Int
    const has_error::Bool
    const estimate::S
    stride::Int
    first_rejected::Int
end

function Recorder(u::AbstractArray{T}; keep_states, checkpoints, has_error, estimate) where {T}
    return Recorder(
        Float64[], T[], Int[], keep_states, checkpoints, has_error, estimate, 1, 0
    )
end

# The condition of a discrete callback, evaluated after each accepted step and before states are saved; never true.
function (recorder::Recorder)(u, t, integrator)
    check_cancelled()
    restore_step_length!(integrator)
    isempty(recorder.rows) && (recorder.first_rejected = integrator.stats.nreject)
    push!(
        recorder.rows, integrator.tprev, integrator.t - integrator.tprev,
        recorder.has_error ? scaled_error(integrator) : NaN, recorder.estimate(integrator)
    )
    recorder.keep_states && keep_state!(recorder, integrator.uprev)
    return false
end

function keep_state!(recorder::Recorder, u)
    index = length(recorder.rows) ÷ 4
    (index - 1) % recorder.stride == 0 || return nothing
    append!(recorder.states, vec(u))
    push!(recorder.kept, index)
    recorder.checkpoints > 0 && length(recorder.kept) > recorder.checkpoints && thin!(recorder, length(u))
    return nothing
end

"Drop every second state."
function thin!(recorder::Recorder, size)
    recorder.stride *= 2
    staying = filter(i -> (recorder.kept[i] - 1) % recorder.stride == 0, eachindex(recorder.kept))
    for (new, old) in enumerate(staying)
        copyto!(recorder.states, (new - 1) * size + 1, recorder.states, (old - 1) * size + 1, size)
        recorder.kept[new] = recorder.kept[old]
    end
    resize!(recorder.kept, length(staying))
    resize!(recorder.states, length(staying) * size)
    return nothing
end

# --- estimates of stiffness

"No estimate: the method has none."
struct NoStiffness end
(::NoStiffness)(integrator) = NaN

"The estimate that a switching algorithm makes itself."
struct OwnStiffness end
(::OwnStiffness)(integrator) = own_stiffness(integrator)

"""
    StagePair(rms, counted)

From two stages with equal nodes: `rms` is the ratio of root mean squares of Pal et al. (ICML 2021), otherwise the largest
element-wise ratio, as OrdinaryDiffEq computes it. `counted` is the field, which remembers stages where the cache does not.
"""
struct StagePair{Rms, C}
    counted::C
end
StagePair(rms::Bool, counted) = StagePair{rms, typeof(counted)}(counted)

function (estimate::StagePair{Rms})(integrator) where {Rms}
    remembered = !isnothing(estimate.counted.last)
    pair = remembered ? stage_pair(estimate.counted) : stage_pair(integrator.cache, integrator.u)
    return stiffness_ratio(Val(Rms), pair...)
end

"||k_p - k_q|| / ||g_p - g_q||; 0 where the states do not differ."
function stiffness_ratio(::Val{true}, k, l, g, h)
    slopes = states = zero(eltype(k))
    @inbounds @simd for i in eachindex(k, l, g, h)
        slopes += abs2(k[i] - l[i])
        states += abs2(g[i] - h[i])
    end
    return sqrt(slopes) / max(sqrt(states), floatmin(typeof(states)))
end

"Largest |k_p - k_q| / |g_p - g_q| over the elements that differ."
function stiffness_ratio(::Val{false}, k, l, g, h)
    largest = zero(eltype(k))
    @inbounds for i in eachindex(k, l, g, h)
        difference = g[i] - h[i]
        difference == 0 || (largest = max(largest, abs((k[i] - l[i]) / difference)))
    end
    return largest
end
