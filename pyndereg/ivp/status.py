"""The ways in which a solve can end."""

from enum import Enum


class Status(Enum):
    """How a solve ended; the value is a sentence that says what it means and what can be done."""

    SUCCESS = "the end of the interval was reached"
    MAX_STEPS = (
        "the limit on attempted steps was reached before the end of the interval: raise max_steps, loosen the "
        "tolerances, or use a method for stiff equations"
    )
    STEP_UNDERFLOW = (
        "the step that the tolerances ask for is too short to advance time in floating point: loosen the tolerances, "
        "use float64, or check f for jumps and singularities"
    )
    # Steps of given lengths are looked at once, at the end: to ask at every step would make the host wait for it.
    NON_FINITE = (
        "f or the state became NaN or infinite: check f where it says, bound its output, or start from a smaller state"
    )

    NOT_CONVERGED = (
        "the implicit method's nonlinear equations could not be solved: loosen the tolerances, shorten the first step "
        "with dt=, or choose another method"
    )

    @property
    def succeeded(self) -> bool:
        """Whether the solution covers the whole interval."""
        return self is Status.SUCCESS
