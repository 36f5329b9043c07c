# julia --project=<environment with the packages> julia/test/runtests.jl

using NDERegEngine, Test

@testset "NDERegEngine" begin
    for file in ("internals", "methods", "tableau", "solve", "replay", "fields", "network", "sensitivities", "stiff", "quality")
        @testset "$file" begin
            include("$file.jl")
        end
    end
end
