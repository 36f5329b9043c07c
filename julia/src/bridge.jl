"""
    NDERegEngine.Bridge

The entry points for a host language in the same process: memory is named by address, objects by number. A request and its
reply are C structures; what a reply points to lives until the record is released.
"""
module Bridge

using ..NDERegEngine
using ..NDERegEngine: CallbackField, Field, FunctionField, NetworkField

# Fields, algorithms and records that the host holds, by number.
const OBJECTS = Dict{Int64, Any}()
const NEXT = Ref(Int64(0))

function hold(object)
    OBJECTS[NEXT[] += 1] = object
    return NEXT[]
end

"Forget objects that the host no longer needs: `count` numbers at an address."
function release(address, count)
    foreach(number -> delete!(OBJECTS, number), unsafe_wrap(Array, Ptr{Int64}(UInt(address)), count))
    return nothing
end

"How many objects are held."
held() = length(OBJECTS)

"Tell the engine where the host keeps the flag that asks a solve to stop: an int32, 0 or 1."
set_cancel_flag(address) = (NDERegEngine.CANCEL_FLAG[] = Ptr{Int32}(UInt(address)); nothing)

# --- what a problem consists of

"A network from its description, one line per layer."
network_field(description) = hold(NetworkField(split(description, '\n')))

callback_field(evaluate, pullback, token) =
    hold(CallbackField(Ptr{Cvoid}(UInt(evaluate)), Ptr{Cvoid}(UInt(pullback)), token))

"""
    function_field(source, is_file, name, vjp)

A Julia function by name. `source` is a path to a file that defines it, or the name of a module: one that is loaded, or a
package of the active project.
"""
function function_field(source, is_file, name, vjp)
    where = is_file ? module_of_file(source) : module_by_name(source)
    Base.invokelatest(isdefined, where, Symbol(name)) ||
        throw(ArgumentError("$source defines no $name; check the spelling, or define it there"))
    f = getproperty(where, Symbol(name))
    is_named = !(vjp in ("", "forward", "reverse", "zygote"))
    is_named && !Base.invokelatest(isdefined, where, Symbol(vjp)) && throw(ArgumentError(
        "vjp is $(repr(vjp)), and $source defines no such function; pass \"forward\", \"reverse\", \"zygote\" or the name of one"
    ))
    choice = is_named ? getproperty(where, Symbol(vjp)) : isempty(vjp) ? nothing : vjp
    return hold(Base.invokelatest(FunctionField, f; vjp = choice))
end

# A file is read again when it has changed.
const FILES = Dict{String, Tuple{Float64, Module}}()

function module_of_file(path)
    isfile(path) || throw(ArgumentError("there is no file $path; pass the path of a Julia file"))
    changed = mtime(path)
    haskey(FILES, path) && FILES[path][1] == changed && return FILES[path][2]
    home = Module(Symbol(splitext(basename(path))[1]))
    Base.include(home, path)
    # A file that wraps its functions in one module means that module.
    inner = filter(n -> n != nameof(home) && getproperty(home, n) isa Module, setdiff(names(home; all = true), (:eval, :include)))
    found = length(inner) == 1 && isempty(functions_of(home)) ? getproperty(home, only(inner)) : home
    FILES[path] = (changed, found)
    return found
end

functions_of(home) = filter(n -> isdefined(home, n) && getproperty(home, n) isa Function && !startswith(String(n), "#"),
    setdiff(names(home; all = true), (:eval, :include)))

function module_by_name(name)
    isdefined(Main, Symbol(name)) && getproperty(Main, Symbol(name)) isa Module && return getproperty(Main, Symbol(name))
    package = Base.identify_package(name)
    isnothing(package) && throw(ArgumentError(
        "there is no module $name in Main and no package $name in the active Julia project; include its file, or pass the path of the file"
    ))
    return Base.require(package)
end

"""
    method(name, keys, values)

An algorithm with its options.
"""
method(name, keys, values) =
    hold(NDERegEngine.algorithm(String(name); (Symbol(String(k)) => plain(v) for (k, v) in zip(keys, values))...))

plain(value) = value
plain(value::AbstractString) = String(value)

"Whether the steps of a method can be replayed."
has_tableau(number) = NDERegEngine.is_explicit_runge_kutta(OBJECTS[number])

# --- solving

"What is asked for. Lengths are counts of elements; NaN is an absent number, C_NULL absent memory."
struct Request
    field::Int64
    method::Int64
    u0::Ptr{Cvoid}
    dimensions::Ptr{Int64}
    rank::Int64
    is_single::Int64
    p::Ptr{Cvoid}
    parameters::Int64
    t0::Float64
    t1::Float64
    rtol::Float64
    atol::Float64
    dt::Float64
    adaptive::Int64
    max_steps::Int64
    saveat::Ptr{Float64}
    saves::Int64
    saved::Ptr{Cvoid}
    u1::Ptr{Cvoid}
    rms::Int64
    keep_states::Int64
    checkpoints::Int64
    keep_solution::Int64
end

"What came of it. The memory belongs to the record, which the host releases."
struct Reply
    record::Int64
    status::Int64
    steps::Int64
    rejected::Int64
    evaluations::Int64
    t_reached::Float64
    saved::Int64
    rows::Ptr{Float64}
    states::Ptr{Cvoid}
    messages::Int64
    first_rejected::Int64
    order::Float64
end

const STATUSES = Dict(
    :Success => 0, :MaxIters => 1, :DtLessThanMin => 2, :Unstable => 3, :DtNaN => 3, :ConvergenceFailure => 4, :InitialFailure => 4,
)

"A solve that was made: everything that a later question about it needs."
struct Record{F, P, A, R, D}
    field::F
    p::P
    algorithm::A
    result::R
    shape::D
    t0::Float64
    rtol::Float64
    atol::Float64
    rms::Bool
end

number_type(request) = request.is_single == 1 ? Float32 : Float64

"""
    solve(request, reply)

Solve what the request at one address asks for, and write the reply to the other.
"""
function solve(request_address, reply_address)
    request = unsafe_load(Ptr{Request}(UInt(request_address)))
    record, reply = solve(request, OBJECTS[request.field], OBJECTS[request.method], number_type(request))
    unsafe_store!(Ptr{Reply}(UInt(reply_address)), reply)
    return nothing
end

function solve(request::Request, field::Field, algorithm, ::Type{T}) where {T}
    shape = Tuple(unsafe_wrap(Array, request.dimensions, request.rank))
    u0 = unsafe_wrap(Array, Ptr{T}(request.u0), shape)
    p = unsafe_wrap(Array, Ptr{T}(request.p), request.parameters)
    saveat = copy(unsafe_wrap(Array, request.saveat, request.saves))
    result = NDERegEngine.solve(
        field, p, u0, (request.t0, request.t1); algorithm, abstol = request.atol, reltol = request.rtol, saveat,
        dt = isnan(request.dt) ? nothing : request.dt, adaptive = request.adaptive == 1, maxiters = request.max_steps,
        stiffness = request.rms == 1 ? "rms" : "max", keep_states = request.keep_states == 1,
        checkpoints = request.checkpoints, keep_solution = request.keep_solution == 1,
    )
    size = length(u0)
    for (i, state) in enumerate(result.saved)
        unsafe_copyto!(Ptr{T}(request.saved) + (i - 1) * size * sizeof(T), pointer(state), size)
    end
    unsafe_copyto!(Ptr{T}(request.u1), pointer(result.u1), size)
    record = Record(
        field, p, algorithm, result, shape, request.t0, request.rtol, request.atol, request.rms == 1
    )
    reply = Reply(
        hold(record), get(STATUSES, result.retcode, 4), length(result.t), result.rejected, result.evaluations,
        result.t_reached, length(result.saved), pointer(result.rows), pointer(result.states), length(result.messages),
        result.first_rejected, result.order,
    )
    return record, reply
end

"Warnings of the solver and its return code."
messages(number) = join((String(OBJECTS[number].result.retcode), OBJECTS[number].result.messages...), '\0')

"""
    interpolate(number, times, count, result)

Dense output of a record whose solution was kept, at `count` times, into the memory at `result`.
"""
function interpolate(number, times, count, result)
    record = OBJECTS[number]
    at = unsafe_wrap(Array, Ptr{Float64}(UInt(times)), count)
    states = NDERegEngine.interpolate(record.result.solution, at)
    unsafe_copyto!(Ptr{eltype(states)}(UInt(result)), pointer(states), length(states))
    return nothing
end

# --- gradients

"Cotangents of a record's outputs, and where the gradients go; C_NULL for those that are zero or not wanted."
struct Pullback
    record::Int64
    p::Ptr{Cvoid}
    u1::Ptr{Cvoid}
    times::Ptr{Float64}
    saved::Ptr{Cvoid}
    saves::Int64
    ends::Ptr{Cvoid}
    scaled_error::Ptr{Cvoid}
    stiffness::Ptr{Cvoid}
    gu0::Ptr{Cvoid}
    gp::Ptr{Cvoid}
    gt::Ptr{Float64}
end

optional(::Type{T}, address, dimensions...) where {T} =
    address == C_NULL ? nothing : unsafe_wrap(Array, Ptr{T}(address), dimensions)

"""
    discrete_adjoint(address)

Gradient by replaying the steps of a record in reverse; see `NDERegEngine.discrete_adjoint`.
"""
function discrete_adjoint(address)
    pullback = unsafe_load(Ptr{Pullback}(UInt(address)))
    discrete_adjoint(pullback, OBJECTS[pullback.record])
    return nothing
end

function discrete_adjoint(pullback::Pullback, record::Record)
    result = record.result
    T, size, steps = eltype(result.u1), length(result.u1), length(result.t)
    cotangents = (;
        state_cotangents(pullback, T, size)..., ends = optional(T, pullback.ends, size, steps + 1),
        scaled_error = optional(T, pullback.scaled_error, steps), stiffness = optional(T, pullback.stiffness, steps),
    )
    steps_taken = (; result.t, result.dt, result.states, result.kept, start = record.t0, stop = result.t_reached)
    gradient = NDERegEngine.discrete_adjoint(
        record.field, parameters(pullback, record, T), record.shape, NDERegEngine.tableau_of(record.algorithm), steps_taken,
        cotangents; abstol = record.atol, reltol = record.rtol, stiffness = record.rms ? "rms" : "max",
    )
    return hand_over(gradient, pullback, T)
end

parameters(pullback, record, ::Type{T}) where {T} = unsafe_wrap(Array, Ptr{T}(pullback.p), length(record.p))

"What arrives at the states of a solve."
function state_cotangents(pullback, ::Type{T}, size) where {T}
    saves = pullback.times == C_NULL ? 0 : pullback.saves
    return (;
        u1 = optional(T, pullback.u1, size),
        times = saves == 0 ? Float64[] : unsafe_wrap(Array, pullback.times, saves),
        saved = saves == 0 ? zeros(T, size, 0) : unsafe_wrap(Array, Ptr{T}(pullback.saved), (size, saves)),
    )
end

"Write a gradient to where the host wants it."
function hand_over(gradient, pullback, ::Type{T}) where {T}
    unsafe_copyto!(Ptr{T}(pullback.gu0), pointer(gradient.u0), length(gradient.u0))
    pullback.gp == C_NULL || unsafe_copyto!(Ptr{T}(pullback.gp), pointer(gradient.p), length(gradient.p))
    unsafe_store!(pullback.gt, gradient.t0, 1)
    unsafe_store!(pullback.gt, gradient.t1, 2)
    return nothing
end

include("sensitivity_bridge.jl")
include("stochastic_bridge.jl")

end
