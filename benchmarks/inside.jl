# The calls of bench_julia.py made inside Julia.

"Seconds per call of `call(arguments...)`, `count` times."
function seconds_per_call(call, count, arguments...)
    call(arguments...)
    return @elapsed(for _ in 1:count
        call(arguments...)
    end) / count
end
