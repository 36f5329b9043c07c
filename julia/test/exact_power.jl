# The step-size controllers call an approximate power function (about five digits). With the exact one, as the reference
# solutions were written, steps can be compared digit by digit.
FastPower = Base.require(Base.PkgId(Base.UUID("a4df4552-cc26-4903-aec0-212e50a0e84b"), "FastPower"))
@eval FastPower fastpower(x::Float64, y::Float64) = x^y
