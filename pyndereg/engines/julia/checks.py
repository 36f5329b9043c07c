"""What the julia engine refuses, and the warnings that it passes on."""

from pyndereg.engines.julia.session import warn
from pyndereg.ivp import Backprop, SolveOptions, StateLayout, Status
from pyndereg.ivp.control import PI
from pyndereg.ivp.norm import RMS

# Warnings that only repeat how the solve ended, which its status says.
STATUS_WARNINGS = (
    "dt_epsilon",
    "dt_min_unstable",
    "dt_NaN",
    "init_NaN",
    "max_iters",
    "instability",
    "newton_convergence",
)


def check_options(layout: StateLayout, options: SolveOptions) -> None:
    """Refuse what no solve in Julia has.

    Raises:
        ValueError: the graph of torch operations, steps at given times, another step control or norm, a state that is
            controlled in part, or a device is asked for.
    """
    if isinstance(options.gradient, Backprop):
        raise ValueError(
            "Backprop keeps the graph of torch operations, which steps taken in Julia have not; pass "
            "gradient=DiscreteAdjoint(), which gives the same gradient, or engine='embedded'"
        )
    for name in ("steps", "grid", "dt_min", "dt_max", "breakpoints"):
        if getattr(options, name) is not None:
            raise ValueError(
                f"{name} was given, and the julia engine has steps of one length dt=, or those that it chooses itself; "
                "pass engine='embedded'"
            )
    if options.control not in (None, PI()):
        raise ValueError(
            f"control is {options.control}, and the julia engine controls steps as its algorithms do by themselves; "
            "pass None, or engine='embedded'"
        )
    if options.norm is not None and not isinstance(options.norm, RMS):
        raise ValueError(
            f"norm is {options.norm!r}, and the julia engine measures errors by their root mean square; pass None, or "
            "engine='embedded'"
        )
    if options.uncontrolled:
        raise ValueError(
            f"uncontrolled is {options.uncontrolled}, and the julia engine's norms see the whole state; pass 0, or "
            "engine='embedded'"
        )
    device = layout.device
    if device.type != "cpu":
        raise ValueError(
            f"y0 is on {device}, and the julia engine solves on the CPU: its CUDA part, which needs CUDA.jl in the "
            "Julia project, is not there yet; move y0 and f to the CPU, or pass engine='embedded'"
        )


def pass_on(warnings: tuple[str, ...], status: Status) -> None:
    """A solver's warnings, without those that only repeat how the solve ended."""
    for message in warnings:
        if not status.succeeded and any(toggle in message for toggle in STATUS_WARNINGS):
            continue
        warn(message)
