# Right-hand sides of the tests, as Julia functions.

lotka_volterra(u, p, t) = [p[1] * u[1] - p[2] * u[1] * u[2], -p[3] * u[2] + p[4] * u[1] * u[2]]

function forced!(du, u, p, t)
    du[1] = -p[1] * u[1] + sin(p[2] * t) * u[2]
    du[2] = -p[3] * u[2]^3 + cos(p[4] * t)
    return nothing
end

# Robertson's chemical kinetics.
function rober!(du, u, p, t)
    du[1] = -p[1] * u[1] + p[2] * u[2] * u[3]
    du[2] = p[1] * u[1] - p[2] * u[2] * u[3] - p[3] * u[2]^2
    du[3] = p[3] * u[2]^2
    return nothing
end

function decay!(du, u, p, t)
    du .= -u
    return nothing
end

broken!(du, u, p, t) = error("something is wrong here")

function stiff!(du, u, p, t)
    du[1] = -1e4 * (u[1] - cos(t))
    return nothing
end
