# States at the starts of steps, those between checkpoints taken again.

"""
    state_at!(out, between, sweep, record, n)

The state at the start of step n: one that was kept, or one of a further forward pass from the last kept before it. Those
passed on the way are left in `between`, a dictionary by step, for the steps before n.
"""
function state_at!(out, between, sweep, record, n)
    column = searchsortedlast(record.kept, n)
    first = record.kept[column]
    if first == n
        copyto!(out, view(record.states, :, column))
        empty!(between)
        return out
    end
    haskey(between, n) || take_again!(between, sweep, record, column, first, n)
    return copyto!(out, pop!(between, n))
end

function take_again!(between, sweep, record, column, first, last)
    (; field, p, tableau) = sweep
    # Nodes of their own: the first node of the step after `last` is still needed.
    w = forward_workspace(field, sweep.start)
    nodes = [Node(field, sweep.start; w) for _ in 1:tableau.stages]
    state = copyto!(similar(sweep.start), view(record.states, :, column))
    for n in first:(last - 1)
        check_cancelled()
        t, dt = record.t[n], record.dt[n]
        for (j, node) in enumerate(nodes)
            j == tableau.stop && continue
            weighted!(node.u, state, dt, view(tableau.a, j, :), nodes, j - 1)
            evaluate!(field, node.k, node.u, p, node_time(t, dt, tableau.c[j], eltype(state)), node.w)
        end
        state = weighted!(similar(state), state, dt, tableau.b, nodes, tableau.stages)
        between[n + 1] = state
    end
    return nothing
end
