# Right-hand sides for bench_julia.py.

function lotka_volterra!(du, u, p, t)
    du[1] = 1.5u[1] - u[1] * u[2]
    du[2] = u[1] * u[2] - 3.0u[2]
    return nothing
end

function idle!(du, u, p, t)
    fill!(du, 0)
    return nothing
end
