# Algorithms by name.

using StochasticDiffEq: EM, EulerHeun, RKMil, SOSRA, SOSRI, SOSRI2, SRA1, SRIW1

"The methods that have one lower-case name in every engine."
const METHODS = Dict{String, Any}(
    # StochasticDiffEq's own default takes g after the drift's part of the step.
    "em" => () -> EM(false), "heun" => EulerHeun, "milstein" => RKMil, "sra1" => SRA1, "sosra" => SOSRA, "sriw1" => SRIW1,
    "sosri" => SOSRI, "sosri2" => SOSRI2,
)

NDERegEngine.find_stochastic_algorithm(name::String, options) =
    NDERegEngine.build(named(name), name, options; package = "StochasticDiffEq", inner = named)

NDERegEngine.has_stochastic_estimate(algorithm) = is_adaptive(algorithm)

function named(name::String)
    haskey(METHODS, name) && return METHODS[name]
    symbol = Symbol(name)
    if isdefined(StochasticDiffEq, symbol)
        value = getproperty(StochasticDiffEq, symbol)
        (value isa Type ? is_algorithm_type(value) : startswith(name, "Auto")) && return value
    end
    throw(ArgumentError(
        "no algorithm $(repr(name)) for stochastic equations in StochasticDiffEq; check the spelling in its documentation"
    ))
end
