# Algorithms by name.

import ADTypes
import OrdinaryDiffEq, OrdinaryDiffEqLowOrderRK, OrdinaryDiffEqTsit5, OrdinaryDiffEqVerner
using OrdinaryDiffEqLowOrderRK: BS3, DP5, Euler, Heun, Midpoint, RK4
using OrdinaryDiffEqTsit5: Tsit5
using OrdinaryDiffEqVerner: Vern7, Vern9

"The methods that have one lower-case name in every engine."
const METHODS = Dict{String, Any}(
    "euler" => Euler, "midpoint" => Midpoint, "heun" => Heun, "rk4" => RK4, "bs3" => BS3, "dp5" => DP5,
    "tsit5" => Tsit5, "vern7" => Vern7, "vern9" => Vern9,
)

"Methods that are taken with steps of a given length, although OrdinaryDiffEq has error estimates for some of them."
const FIXED_STEP = (Euler, Heun, Midpoint, RK4)

"Whether an algorithm is taken with adaptive steps unless told otherwise."
is_adaptive_method(algorithm) = is_adaptive(algorithm) && !any(algorithm isa kind for kind in FIXED_STEP)

# OrdinaryDiffEq's sublibraries; one that the active project has is loaded when a method of it may be meant.
const SUBLIBRARIES = "OrdinaryDiffEq" .* [
    "Rosenbrock", "BDF", "SDIRK", "FIRK", "StabilizedRK", "HighOrderRK", "LowStorageRK", "SSPRK", "Extrapolation",
    "AdamsBashforthMoulton", "Nordsieck", "ExplicitRK", "Feagin", "QPRK", "PRK", "StabilizedIRK", "PDIRK", "Default",
]

const AUTODIFF = Dict("finite" => ADTypes.AutoFiniteDiff, "forward" => ADTypes.AutoForwardDiff)

"""
    algorithm(name; options...)

The OrdinaryDiffEq algorithm of that name: one of `METHODS`, or any algorithm as OrdinaryDiffEq spells it ("Rodas5P",
"FBDF", "AutoTsit5"). `options` are its keyword arguments; `autodiff` may be "finite" or "forward", and an option whose
value names an algorithm stands for that algorithm.

# Errors
`ArgumentError` if no loaded package has an algorithm of that name, or it does not take the options.
"""
algorithm(name::AbstractString; options...) = build(named(name), name, options; package = "OrdinaryDiffEq", inner = named)

named(name) = get(() -> find_algorithm(String(name)), METHODS, name)

"""
    build(constructor, name, options; package, inner)

An algorithm of a package with its options; `inner` finds the constructors of algorithms that they name.
"""
function build(constructor, name, options; package, inner)
    keywords = Dict{Symbol, Any}(key => option_value(key, value, inner) for (key, value) in options)
    # `AutoTsit5(Rosenbrock23())` takes the stiff algorithm as an argument.
    positional = haskey(keywords, :stiff) ? (pop!(keywords, :stiff),) : ()
    try
        return Base.invokelatest(constructor, positional...; keywords...)
    catch error
        error isa MethodError || rethrow()
        startswith(name, "Auto") && isempty(positional) && throw(ArgumentError(
            "$name switches to a stiff algorithm, which is not named; pass one, such as stiff = \"Rosenbrock23\""
        ))
        listed = join(("$key = $value" for (key, value) in options), ", ")
        throw(ArgumentError("algorithm $name does not take the options ($listed); see its documentation in $package"))
    end
end

function option_value(key::Symbol, value, inner)
    key === :stiff && value isa AbstractString && return Base.invokelatest(inner(value))
    key === :stiff && throw(ArgumentError("stiff is $(repr(value)); pass the name of an algorithm, such as \"Rosenbrock23\""))
    key === :interpretation && return interpretation_named(value)
    key === :autodiff || return value isa AbstractString ? Symbol(value) : value
    haskey(AUTODIFF, value) && return AUTODIFF[value]()
    throw(ArgumentError("autodiff is $(repr(value)); pass \"finite\" or \"forward\""))
end

function interpretation_named(value)
    haskey(INTERPRETATIONS, value) && return INTERPRETATIONS[value]
    throw(ArgumentError("interpretation is $(repr(value)); pass \"ito\" or \"stratonovich\""))
end

function find_algorithm(name::String)
    found = loaded_algorithm(name)
    isnothing(found) || return found
    for library in SUBLIBRARIES
        package = Base.identify_package(library)
        (isnothing(package) || haskey(Base.loaded_modules, package)) && continue
        Base.require(package)
        found = Base.invokelatest(loaded_algorithm, name)
        isnothing(found) || return found
    end
    throw(ArgumentError(
        "no algorithm $(repr(name)) in the OrdinaryDiffEq packages of this Julia project; check the spelling, or add the " *
        "sublibrary that has it, which OrdinaryDiffEq's documentation names (OrdinaryDiffEqStabilizedRK for ROCK4, say)"
    ))
end

function loaded_algorithm(name::String)
    symbol = Symbol(name)
    for (package, library) in Base.loaded_modules
        startswith(package.name, "OrdinaryDiffEq") && isdefined(library, symbol) || continue
        value = getproperty(library, symbol)
        is_algorithm = value isa Type ? is_algorithm_type(value) : startswith(name, "Auto")
        is_algorithm && return value
    end
    return nothing
end
