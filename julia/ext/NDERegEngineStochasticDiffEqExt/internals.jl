# ALL access to names that the packages for stochastic equations do not export. `test/stochastic_internals.jl` has a canary
# for each: when one of them fails after an update, this is the file to change.

import DiffEqNoiseProcess, SciMLBase, StochasticDiffEq
using StochasticDiffEq.StochasticDiffEqCore: StochasticDiffEqAlgorithm, alg_compatible, alg_needs_extra_process

"Whether a type is one of the algorithms for stochastic differential equations."
is_algorithm_type(type) = type <: StochasticDiffEqAlgorithm

"Whether an algorithm has an error estimate."
is_adaptive(algorithm) = StochasticDiffEq.StochasticDiffEqCore.isadaptive(algorithm)

"What an algorithm means by the stochastic integral: \"ito\" or \"stratonovich\"."
interpretation(algorithm) = lowercase(string(SciMLBase.alg_interpretation(algorithm)))

"Whether an algorithm solves problems with noise of this kind."
solves(algorithm, problem) = alg_compatible(problem, algorithm)

"Whether an algorithm asks for random numbers that are no areas of the path, as far as their number tells."
needs_other_noise(algorithm, dW) = alg_needs_extra_process(algorithm) && size(areas_of(algorithm, dW)) != size(dW)

"What an algorithm wants for areas; some versions of StochasticDiffEqCore ask for it together with a time."
function areas_of(algorithm, dW)
    prototype = StochasticDiffEq.StochasticDiffEqCore._z_prototype
    with_time = (algorithm, dW, true, zero(eltype(dW)))
    return applicable(prototype, with_time...) ? prototype(with_time...) : prototype(with_time[1:3]...)
end

"""
    HostProcess(path, prototype, t0, t1)

A noise process, as StochasticDiffEq's integrator asks one, whose increments are those of a path that somebody else knows.
The path is asked when a step is set up, when it was accepted, and when it was rejected; nothing is kept of it.
"""
mutable struct HostProcess{T, A <: AbstractArray{T}, P} <: SciMLBase.AbstractNoiseProcess{T, 1, A, true}
    const path::P
    # The values that are saved: none; the first one's size is checked when the noise is general.
    const W::Vector{A}
    const dW::A
    const dZ::A
    const t1::Float64
    const reset::Bool
    curt::Float64
    dt::Float64
end

HostProcess(path, prototype, t0, t1) = HostProcess(path, [zero(prototype)], zero(prototype), zero(prototype), t1, false, t0, 0.0)

# An integrator copies the problem's process; a problem is solved once, so that it may have it.
Base.copy(process::HostProcess) = process

Base.show(io::IO, process::HostProcess) = print(io, "HostProcess at t = ", process.curt)
Base.show(io::IO, ::MIME"text/plain", process::HostProcess) = show(io, process)

function DiffEqNoiseProcess.calculate_step!(process::HostProcess, dt, u, p)
    process.dt = dt
    # Sums of step lengths may end a rounding error behind the path's end.
    process.path(process.dW, process.dZ, process.curt, min(process.curt + dt, process.t1))
    return nothing
end

DiffEqNoiseProcess.setup_next_step!(process::HostProcess, u, p) =
    DiffEqNoiseProcess.calculate_step!(process, process.dt, u, p)

DiffEqNoiseProcess.reject_step!(process::HostProcess, dt, u, p) =
    DiffEqNoiseProcess.calculate_step!(process, dt, u, p)

function DiffEqNoiseProcess.accept_step!(process::HostProcess, dt, u, p, setup_next = true)
    process.curt += process.dt
    process.dt = dt
    # After the last step the integrator proposes another one, which is never taken.
    setup_next && process.curt < process.t1 && DiffEqNoiseProcess.setup_next_step!(process, u, p)
    return nothing
end

DiffEqNoiseProcess.save_noise!(::HostProcess) = nothing

"A problem along a path, in place and with functions of any type."
function stochastic_problem(drift, diffusion, u0, tspan, process; noise_rate_prototype)
    equation = SciMLBase.SDEFunction{true, SciMLBase.FullSpecialize}(drift, diffusion)
    return SciMLBase.SDEProblem{true}(equation, u0, tspan, nothing; noise = process, noise_rate_prototype)
end
