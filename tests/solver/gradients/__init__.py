"""The parts of what keeps a gradient that of the computation that was run."""
