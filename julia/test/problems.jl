# Problems that several tests solve.

lotka_volterra!(du, u, p, t) = (
    du[1] = p[1] * u[1] - p[2] * u[1] * u[2];
    du[2] = -p[3] * u[2] + p[4] * u[1] * u[2] + 0.1 * sin(t);
    nothing
)
lotka_volterra(u, p, t) = [p[1] * u[1] - p[2] * u[1] * u[2], -p[3] * u[2] + p[4] * u[1] * u[2] + 0.1 * sin(t)]
const RATES = [1.5, 1.0, 3.0, 1.0]

decay!(du, u, p, t) = (du .= -u; nothing)
van_der_pol!(du, u, p, t) = (du[1] = u[2]; du[2] = 5 * (1 - u[1]^2) * u[2] - u[1]; nothing)
