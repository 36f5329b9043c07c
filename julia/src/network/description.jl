# A network's description, read and checked line by line.

function NetworkField(description::AbstractVector{<:AbstractString})
    isempty(description) && throw(ArgumentError("the description is empty; begin it with \"field size=... parameters=...\""))
    line = Line(first(description))
    line.kind == "field" || refuse(line, "stands first", "begin with \"field size=... parameters=...\"")
    state_size, parameters = whole(line, "size"), whole(line, "parameters")
    check_keys(line, ("size", "parameters"))
    layers, open_residuals = Layer[], Tuple{Int, Int}[]
    features = state_size
    for text in Iterators.drop(description, 1)
        line, source = Line(text), length(layers)
        if line.kind == "residual"
            check_keys(line, ())
            push!(open_residuals, (source, features))
            continue
        elseif line.kind == "end"
            check_keys(line, ())
            isempty(open_residuals) && refuse(line, "closes nothing", "put a \"residual\" before it")
            skip, entered = pop!(open_residuals)
            skip == source && refuse(line, "closes an empty residual", "put a layer inside")
            entered == features ||
                refuse(line, "sums $entered with $features features", "let the residual keep the size")
            layer = Layer(; kind = :sum, inputs = features, outputs = features, source, skip)
        elseif line.kind == "dense"
            layer = dense_layer(line, source)
        elseif line.kind == "elementwise"
            check_keys(line, ("activation",))
            activation, constants = activation_of(line)
            layer = Layer(; kind = :elementwise, inputs = features, outputs = features, source, activation, constants)
        elseif line.kind == "layernorm"
            layer = layernorm_layer(line, source)
        else
            refuse(line, "is of no known kind", "use field, dense, elementwise, layernorm, residual or end")
        end
        layer.inputs == features ||
            refuse(line, "takes $(layer.inputs) features, but $features arrive", "let the sizes follow each other")
        last_number(layer) <= parameters ||
            refuse(line, "reads parameter $(last_number(layer)) of $parameters", "count the parameters again")
        push!(layers, layer)
        features = layer.outputs
    end
    isempty(open_residuals) || throw(ArgumentError("a residual is never closed; put an \"end\" after its layers"))
    isempty(layers) && throw(ArgumentError("the description has no layers; put at least one after its first line"))
    features == state_size ||
        throw(ArgumentError("the network maps $state_size features to $features; a right-hand side keeps their number"))
    return NetworkField(state_size, parameters, mark_sums(layers))
end

"The layers with `adds_to_source` and `adds_to_skip` filled in."
function mark_sums(layers)
    written, marked = Set{Int}(), copy(layers)
    for k in reverse(eachindex(layers))
        layer = layers[k]
        adds_to_source = layer.source in written
        push!(written, layer.source)
        adds_to_skip = layer.kind === :sum && layer.skip in written
        layer.kind === :sum && push!(written, layer.skip)
        fields = NamedTuple(name => getfield(layer, name) for name in fieldnames(Layer))
        marked[k] = Layer(; fields..., adds_to_source, adds_to_skip)
    end
    return marked
end

function dense_layer(line, source)
    check_keys(line, ("inputs", "outputs", "weight", "bias", "time", "activation"))
    inputs, outputs, weight = whole(line, "inputs"), whole(line, "outputs"), whole(line, "weight")
    activation, constants = activation_of(line)
    bias = whole(line, "bias", -1)
    is_input = get(line.values, "time", "") == "last"
    time = is_input ? weight + inputs : whole(line, "time", -1)
    leading = is_input ? inputs + 1 : inputs
    time_stride = is_input ? leading : 1
    return Layer(; kind = :dense, inputs, outputs, weight, bias, time, leading, time_stride, activation, constants, source)
end

function layernorm_layer(line, source)
    check_keys(line, ("size", "epsilon", "weight", "bias"))
    size, weight, bias = whole(line, "size"), whole(line, "weight", -1), whole(line, "bias", -1)
    return Layer(; kind = :layernorm, inputs = size, outputs = size, weight, bias, epsilon = number(line, "epsilon"), source)
end

"How many parameters there must be for the layer to read."
function last_number(layer)
    matrix = layer.kind === :dense ? layer.leading * layer.outputs : layer.outputs
    ends = (
        layer.weight < 0 ? 0 : layer.weight + matrix,
        layer.bias < 0 ? 0 : layer.bias + layer.outputs,
        layer.time < 0 ? 0 : layer.time + layer.time_stride * (layer.outputs - 1) + 1,
    )
    return maximum(ends)
end

# --- one line

"A line taken apart: its first word and its `key=value` words."
struct Line
    text::String
    kind::String
    values::Dict{String, String}
end

function Line(text::AbstractString)
    words = split(text)
    isempty(words) && throw(ArgumentError("a line of the description is empty; leave it out"))
    values = Dict{String, String}()
    for word in Iterators.drop(words, 1)
        pair = split(word, '='; limit = 2)
        length(pair) == 2 || throw(ArgumentError("$(repr(word)) in $(repr(text)) has no value; write key=value"))
        values[pair[1]] = pair[2]
    end
    return Line(text, first(words), values)
end

refuse(line, found, remedy) = throw(ArgumentError("$(repr(line.text)) $found; $remedy"))

function check_keys(line, known)
    for key in keys(line.values)
        key in known || refuse(line, "has the unknown key $key", isempty(known) ? "leave it out" : "use " * join(known, ", "))
    end
end

function whole(line, key, default = nothing)
    haskey(line.values, key) || (isnothing(default) ? refuse(line, "lacks $key", "add $key=...") : return default)
    value = tryparse(Int, line.values[key])
    (isnothing(value) || value < (key in ("size", "inputs", "outputs") ? 1 : 0)) &&
        refuse(line, "has $key=$(line.values[key])", "pass a whole number, at least 1 for a size and 0 otherwise")
    return value::Int
end

function number(line, key)
    value = tryparse(Float64, get(line.values, key, ""))
    (isnothing(value) || !isfinite(value) || value < 0) && refuse(line, "has no finite $key >= 0", "add $key=...")
    return value::Float64
end

"Name and constants of an activation written as name or name:constant:constant."
function activation_of(line)
    words = split(get(line.values, "activation", "identity"), ':')
    name = Symbol(first(words))
    haskey(ACTIVATIONS, name) ||
        refuse(line, "has an unknown activation", "use one of " * join(keys(ACTIVATIONS), ", "))
    constants = tryparse.(Float64, words[2:end])
    expected = ACTIVATIONS[name]
    (length(constants) == expected && all(c -> !isnothing(c) && isfinite(c), constants)) ||
        refuse(line, "has wrong constants", "$name takes $expected of them, as name:constant")
    check_constants(line, name, constants)
    return name, (get(constants, 1, 0.0), get(constants, 2, 0.0))
end

# Slopes are computed from the output where these bounds make that possible.
function check_constants(line, name, constants)
    name === :leaky_relu && constants[1] < 0 && refuse(line, "has a negative slope", "pass one >= 0")
    name === :elu && constants[1] <= 0 && refuse(line, "has alpha <= 0", "pass a positive one")
    name === :softplus && constants[1] <= 0 && refuse(line, "has beta <= 0", "pass a positive one")
    name === :power && !(isinteger(constants[1]) && constants[1] >= 1) &&
        refuse(line, "has an exponent that is no whole number >= 1", "pass e.g. power:3")
    return nothing
end
