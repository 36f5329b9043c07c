# What a first solve would compile, compiled with the package: the two methods that are used most, on networks and on
# right-hand sides in another language.

using PrecompileTools: @compile_workload, @setup_workload

c_decay(token::Int64, t::Float64, u::Ptr{T}, du::Ptr{T}) where {T} =
    (foreach(i -> unsafe_store!(du, -unsafe_load(u, i), i), 1:2); Cint(0))
c_decay_pullback(token::Int64, t::Float64, u, λ::Ptr{T}, gu::Ptr{T}, gp, gt) where {T} =
    (foreach(i -> unsafe_store!(gu, -unsafe_load(λ, i), i), 1:2); Cint(0))

"A field of two features, and its number of parameters."
precompiled_fields(T) = (
    NetworkField(["field size=2 parameters=6", "dense inputs=2 outputs=2 weight=0 bias=4 activation=tanh"]) => 6,
    CallbackField(
        T === Float32 ? @cfunction(c_decay, Cint, (Int64, Float64, Ptr{Float32}, Ptr{Float32})) :
        @cfunction(c_decay, Cint, (Int64, Float64, Ptr{Float64}, Ptr{Float64})),
        T === Float32 ?
        @cfunction(c_decay_pullback, Cint, (Int64, Float64, Ptr{Float32}, Ptr{Float32}, Ptr{Float32}, Ptr{Float32}, Ptr{Float64})) :
        @cfunction(c_decay_pullback, Cint, (Int64, Float64, Ptr{Float64}, Ptr{Float64}, Ptr{Float64}, Ptr{Float64}, Ptr{Float64})),
        1
    ) => 0,
)

"One solve and its gradient, as a host asks for them."
function rehearse(field, parameters, method, u0::AbstractArray{T}) where {T}
    p, saved, u1, gu0, gp, gt = zeros(T, parameters), similar(vec(u0)), similar(u0), similar(u0), zeros(T, parameters), zeros(2)
    dimensions, saveat, cotangent = collect(size(u0)), [0.5], fill!(similar(u0), 1)
    GC.@preserve p u0 saved u1 gu0 gp gt dimensions saveat cotangent begin
        request = Bridge.Request(
            0, 0, pointer(u0), pointer(dimensions), ndims(u0), T === Float32, pointer(p), parameters, 0.0, 1.0, 1e-3, 1e-3,
            NaN, 1, 100, pointer(saveat), 1, pointer(saved), pointer(u1), 1, 1, 0, 0
        )
        record, reply = Bridge.solve(request, field, algorithm(method), T)
        pullback = Bridge.Pullback(
            reply.record, pointer(p), pointer(cotangent), pointer(saveat), pointer(cotangent), 1, C_NULL, C_NULL, C_NULL,
            pointer(gu0), pointer(gp), pointer(gt)
        )
        Bridge.discrete_adjoint(pullback, record)
    end
    return nothing
end

@setup_workload begin
    @compile_workload begin
        for T in (Float32, Float64), (field, parameters) in precompiled_fields(T), method in ("tsit5", "dp5")
            rehearse(field, parameters, method, ones(T, 2, 1))
            field isa CallbackField && rehearse(field, parameters, method, ones(T, 2))
        end
    end
    empty!(Bridge.OBJECTS)
    empty!(TABLEAUS)
end
