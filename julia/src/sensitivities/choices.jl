# Sensitivity algorithms and their vector-Jacobian products, by name.

using SciMLSensitivity: BacksolveAdjoint, ForwardDiffSensitivity, ForwardSensitivity, GaussAdjoint, GaussKronrodAdjoint,
    InterpolatingAdjoint, QuadratureAdjoint, ReverseDiffAdjoint, TrackerAdjoint, ZygoteAdjoint

"""
    Sensitivity(name, products, options)

A choice of `sensealg`: the name of a SciMLSensitivity algorithm, of the vector-Jacobian products that it uses, and its options.
"""
struct Sensitivity
    name::Symbol
    products::Symbol
    options::Dict{Symbol, Any}
end

# Adjoint equations solved backwards along the solution, each with the options that it takes.
const ADJOINTS = Dict(
    :BacksolveAdjoint => (BacksolveAdjoint, (:checkpointing,)),
    :InterpolatingAdjoint => (InterpolatingAdjoint, (:checkpointing,)),
    :QuadratureAdjoint => (QuadratureAdjoint, (:abstol, :reltol)),
    :GaussAdjoint => (GaussAdjoint, ()),
    :GaussKronrodAdjoint => (GaussKronrodAdjoint, ()),
)

# Solves with other numbers, forwards or taped; they differentiate the right-hand side with those same numbers.
const THROUGH_THE_SOLVER = Dict(
    :ForwardSensitivity => ForwardSensitivity, :ForwardDiffSensitivity => ForwardDiffSensitivity,
    :ReverseDiffAdjoint => ReverseDiffAdjoint, :TrackerAdjoint => TrackerAdjoint, :ZygoteAdjoint => ZygoteAdjoint,
)

const PRODUCTS = (:field, :zygote, :reversediff, :reversediff_compiled, :tracker, :enzyme, :forward, :finite)

"""
    sensealg(name; autojacvec = nothing, options...) -> Sensitivity

A sensitivity algorithm as SciMLSensitivity spells it.

- "InterpolatingAdjoint", "BacksolveAdjoint" take `checkpointing`, "QuadratureAdjoint" takes `abstol` and `reltol`, of the
  adjoint equation and of the integral (default: the solve's), "GaussAdjoint" and "GaussKronrodAdjoint" take no options.
- "ForwardSensitivity", "ForwardDiffSensitivity", "ReverseDiffAdjoint", "TrackerAdjoint" and "ZygoteAdjoint" solve again with
  other numbers and take no options.

`autojacvec` names who makes the vector-Jacobian products of an adjoint: "field" (its own `pullback!`), "zygote",
"reversediff", "reversediff_compiled" (one tape for the whole solve: only for functions without branches), "tracker",
"enzyme", "forward" and "finite" (whole Jacobians by ForwardDiff and by finite differences).

The default is "field" for all kinds and sizes: for a callback it is the only one that sees the parameters, for a network it
is the hand-written reverse in place, and for a Julia function `pullback!` itself goes by size and form. It also gives the
products with state and parameters from one evaluation, where the others take one each.

# Errors
`ArgumentError` if a name or an option is unknown, or the package for the products is missing.
"""
function sensealg(name; autojacvec = nothing, options...)
    algorithm = Symbol(name)
    haskey(ADJOINTS, algorithm) || haskey(THROUGH_THE_SOLVER, algorithm) || throw(ArgumentError(
        "there is no sensitivity algorithm $name; pass one of " *
        join(sort!(String.([keys(ADJOINTS)..., keys(THROUGH_THE_SOLVER)...])), ", ")
    ))
    allowed = haskey(ADJOINTS, algorithm) ? ADJOINTS[algorithm][2] : ()
    for option in keys(options)
        option in allowed || throw(ArgumentError(
            "$name has no option $option; " * (isempty(allowed) ? "leave it out" : "pass " * join([allowed..., :autojacvec], " or "))
        ))
    end
    isnothing(autojacvec) || haskey(ADJOINTS, algorithm) || throw(ArgumentError(
        "$name differentiates with its own numbers, not with autojacvec = $(repr(autojacvec)); leave autojacvec out"
    ))
    products = isnothing(autojacvec) ? :field : Symbol(autojacvec)
    products in PRODUCTS ||
        throw(ArgumentError("autojacvec is $(repr(autojacvec)); pass one of $(join(repr.(String.(PRODUCTS)), ", "))"))
    # QuadratureAdjoint would leave the gradient of the parameters at zero.
    products === :tracker && !(algorithm in (:InterpolatingAdjoint, :BacksolveAdjoint)) && throw(ArgumentError(
        "$name has no products with parameters by Tracker; pass another autojacvec, such as \"field\""
    ))
    products === :enzyme && check_enzyme()
    return Sensitivity(algorithm, products, Dict{Symbol, Any}(options))
end

square(x) = x * x

"Enzyme is at hand in every installation of SciMLSensitivity, but its compiler does not run on every machine."
function check_enzyme()
    works = try
        Base.invokelatest(enzyme_derivative) ≈ 6
    catch
        false
    end
    works || throw(ArgumentError("Enzyme does not run in this Julia installation; pass another autojacvec, such as \"field\""))
    return nothing
end

enzyme_derivative() =
    only(only(SciMLSensitivity.Enzyme.autodiff(SciMLSensitivity.Enzyme.Reverse, square, SciMLSensitivity.Enzyme.Active(3.0))))

"SciMLSensitivity's algorithm for the products by name."
function adjoint_algorithm(choice::Sensitivity; abstol, reltol)
    constructor, allowed = ADJOINTS[choice.name]
    defaults = :abstol in allowed ? Dict{Symbol, Any}(:abstol => abstol, :reltol => reltol) : Dict{Symbol, Any}()
    autojacvec, settings = product_choice(Val(choice.products))
    return constructor(; autojacvec, settings..., merge(defaults, choice.options)...)
end

# A field's own products come with the ODEFunction and go before `autojacvec`; Zygote's choice then prepares nothing.
product_choice(::Val{:field}) = SciMLSensitivity.ZygoteVJP(), (;)
product_choice(::Val{:zygote}) = SciMLSensitivity.ZygoteVJP(), (;)
product_choice(::Val{:reversediff}) = SciMLSensitivity.ReverseDiffVJP(false), (;)
product_choice(::Val{:reversediff_compiled}) = SciMLSensitivity.ReverseDiffVJP(true), (;)
product_choice(::Val{:tracker}) = SciMLSensitivity.TrackerVJP(), (;)
product_choice(::Val{:enzyme}) = SciMLSensitivity.EnzymeVJP(), (;)
product_choice(::Val{:forward}) = false, (; autodiff = true)
product_choice(::Val{:finite}) = false, (; autodiff = false)
