# julia --project=<environment with the packages> julia/test/runtests.jl [names of files, without .jl]

using Test

const FILES = [
    "internals", "methods", "tableau", "solve", "replay", "fields", "network", "sensitivities", "stiff", "stochastic",
    "stochastic_internals", "quality",
]

"Run a file in a module of its own."
function run(file)
    home = Core.eval(Main, Expr(:module, true, Symbol("test_", file), Expr(:block)))
    Base.include(home, joinpath(@__DIR__, "$file.jl"))
    return nothing
end

@testset "NDERegEngine" begin
    for file in (isempty(ARGS) ? FILES : ARGS)
        @testset "$file" begin
            run(file)
        end
    end
end
