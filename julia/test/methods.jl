using NDERegEngine, Test

@testset "every name has its algorithm, with options" begin
    @test nameof(typeof(algorithm("tsit5"))) === :Tsit5
    @test nameof(typeof(algorithm("Rodas5P"))) === :Rodas5P
    @test nameof(typeof(algorithm("KenCarp4"))) === :KenCarp4   # in a sublibrary that is loaded on demand
    @test algorithm("Rodas5P"; autodiff = "finite").autodiff isa NDERegEngine.ADTypes.AutoFiniteDiff
    @test length(algorithm("AutoTsit5"; stiff = "Rodas5P").algs) == 2
end

@testset "what is wrong with a name or an option is one sentence" begin
    @test_throws "no algorithm \"Tsit55\"" algorithm("Tsit55")
    @test_throws "no algorithm \"sin\"" algorithm("sin")
    @test_throws "does not take the options (speed = 3)" algorithm("Tsit5"; speed = 3)
    @test_throws "autodiff is \"magic\"" algorithm("Rodas5P"; autodiff = "magic")
end
