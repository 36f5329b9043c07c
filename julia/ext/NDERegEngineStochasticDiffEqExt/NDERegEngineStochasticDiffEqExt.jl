"""
The solvers of StochasticDiffEq, along a path that the host knows.
"""
module NDERegEngineStochasticDiffEqExt

using NDERegEngine: NDERegEngine, Bound, Counted, GeneralDiffusion, Messages, NoStiffness, Recorder, StagePair

import Logging

include("internals.jl")
include("methods.jl")
include("solve.jl")

end
