"""Stands in for the real package where only the runtime is tried: loads in a second, and can loop, fail and allocate."""
module NDERegEngine

module Bridge

using LinearAlgebra: norm

const CANCEL = Ref{Ptr{Int32}}(C_NULL)

set_cancel_flag(address) = (CANCEL[] = Ptr{Int32}(UInt(address)); nothing)

check() = CANCEL[] != C_NULL && unsafe_load(CANCEL[]) != 0 && error("stopped on request")

add(a, b) = a + b

fail(text) = error(text)

"""BLAS and garbage: the norm of a product, after n of them and a full collection."""
function work(n)
    total = 0.0
    for _ in 1:n
        total += norm(ones(100, 100) * ones(100, 100))
    end
    GC.gc()
    return total
end

"""Loop for so many seconds, or until told to stop."""
function spin(seconds)
    stop = time() + seconds
    while time() < stop
        check()
        sum(rand(1000))
    end
end

"""Call a C function of one int for so many seconds, or until told to stop."""
function callbacks(address, seconds)
    stop = time() + seconds
    while time() < stop
        check()
        ccall(Ptr{Cvoid}(UInt(address)), Cint, (Cint,), 1)
    end
end

end # module Bridge

end # module NDERegEngine
