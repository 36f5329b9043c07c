# Gradients through the solver: the solve is made again, with dual or traced numbers.

differentiate_solver(field, p, u0, tspan, jumps; sensealg, options...) = error("TODO")
