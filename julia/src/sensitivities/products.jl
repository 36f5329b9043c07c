# A field's own vector-Jacobian products, as SciMLSensitivity asks for them.

"""
    FieldProducts(field, u, p; joint)

A field as an `ODEFunction` with its products, on dense arrays of the state's shape.

An adjoint asks at one point for λᵀ∂f/∂u, then for λᵀ∂f/∂p, then (BacksolveAdjoint) for f itself. With `joint`, the first question
answers all three: the point is remembered and compared by value.
"""
mutable struct FieldProducts{F <: Field, W, U, P, T}
    const field::F
    const workspace::W
    const u::U
    const λ::U
    const slope::U
    const gu::U
    const gp::P
    const joint::Bool
    t::T
    has_slope::Bool     # `slope` is that at `t`, `u`
    has_products::Bool  # `gu` and `gp` are those with `λ` there
end

function FieldProducts(field::Field, u, p; joint)
    room() = similar(u)
    gp = similar(p, eltype(u))
    return FieldProducts(
        field, workspace(field, u), room(), room(), room(), room(), gp, joint, zero(eltype(u)), false, false
    )
end

# Dual numbers compare by their values alone: none are taken for the point that is remembered.
is_at(products::FieldProducts, u, t) =
    products.has_slope && eltype(u) === eltype(products.u) && t isa AbstractFloat && t == products.t && same(u, products.u)

same(a, b) = all(i -> @inbounds(a[i] == b[i]), eachindex(a, b))
same(a::AbstractVector, b::AbstractArray) = length(a) == length(b) && all(i -> @inbounds(a[i] == b[i]), eachindex(b))

function (products::FieldProducts)(du, u, p, t)
    if is_at(products, u, t)
        copyto!(du, products.slope)
    else
        # The workspace then belongs to this point.
        products.has_slope = products.has_products = false
        evaluate!(products.field, size(du) == size(u) ? du : reshape(du, size(u)), u, p, t, products.workspace)
    end
    return nothing
end

"The products at (λ, u, p, t), into `gu` and `gp`; the latter is left out unless it is asked for or `joint`."
function multiply!(products::FieldProducts, λ, u, p, t; with_parameters)
    (; field, gu, gp, workspace, joint) = products
    joint && products.has_products && is_at(products, u, t) && same(λ, products.λ) && return nothing
    check_cancelled()
    products.has_slope = products.has_products = false
    copyto!(products.u, u); copyto!(products.λ, λ)
    products.t = t
    evaluate!(field, products.slope, products.u, p, t, workspace)
    asked = joint || with_parameters
    asked && fill!(gp, 0)
    pullback!(field, gu, asked ? gp : nothing, products.λ, products.u, p, t, workspace)
    products.has_slope = joint
    products.has_products = joint
    return nothing
end

function state_product!(products::FieldProducts)
    return function (result, λ, u, p, t)
        multiply!(products, λ, u, p, t; with_parameters = false)
        copyto!(result, products.gu)
        return nothing
    end
end

function parameter_product!(products::FieldProducts)
    return function (result, λ, u, p, t)
        multiply!(products, λ, u, p, t; with_parameters = true)
        copyto!(result, products.gp)
        return nothing
    end
end

"The equation with the field's own products."
function equation_with_products(field::Field, u, p, tspan; joint)
    products = FieldProducts(field, u, p; joint)
    f = SciMLBase.ODEFunction{true, SciMLBase.FullSpecialize}(
        products; vjp = state_product!(products), vjp_p = parameter_product!(products)
    )
    return SciMLBase.ODEProblem(f, u, tspan, p)
end

"The equation of a field as a plain function of numbers of any kind, in place where it was given in place."
generic_equation(field::Field, u, p, tspan) =
    SciMLBase.ODEProblem{false, SciMLBase.FullSpecialize}((u, p, t) -> evaluate(field, u, p, t), u, tspan, p)
generic_equation(field::FunctionField{false}, u, p, tspan) =
    SciMLBase.ODEProblem{false, SciMLBase.FullSpecialize}(field.f, u, tspan, p)
generic_equation(field::FunctionField{true}, u, p, tspan) =
    SciMLBase.ODEProblem{true, SciMLBase.FullSpecialize}(field.f, u, tspan, p)
