"""The global regularizers of "Opening the Blackbox": one number from the whole record of steps."""

import torch
from torch import Tensor

from pyndereg.ivp import StepRecord
from pyndereg.numbers import positive
from pyndereg.torch_modes import outside_graphs

AGGREGATES = ("sum", "mean", "max")


@outside_graphs
def error_estimate(
    steps: StepRecord,
    aggregate: str = "sum",
    *,
    weight_by_dt: bool = True,
    squared: bool = False,
    count_start: bool = False,
    with_rounding: bool = True,
) -> Tensor:
    """Sum of the scaled local errors of all accepted steps, each times its length: sum_j E_j |dt_j|.

    The default is the paper's formula: the errors' integral over time, whatever the number of steps. Its value says
    little about cost, because the controller keeps E_j about constant in a long solve (near 0.17 for `tsit5`); its
    gradient, at frozen step lengths, makes the dynamics easier, so that the steps can grow.

    Args:
        steps: record of a solve. Shape (steps,) each.
        aggregate: `"sum"` (paper), `"mean"` (published code) or `"max"`.
        weight_by_dt: multiply each error by its step's length. False with `squared=True` gives sum_j E_j^2, the paper's
            alternative for the latent ODE.
        squared: square the errors.
        count_start: count one more step of value zero, as the published code's mean does: it divides by steps + 1.
        with_rounding: False takes `steps.rounding` off each error, down to zero, so that errors which are nothing else
            have no gradient: rounding cannot be trained away, except by a slower field.
    Returns:
        Shape (), in the problem's time units if weighted, else dimensionless; >= 0.
    Raises:
        ValueError: the method has no error estimate, no step was taken, the aggregate is unknown, or the rounding of
            these steps is not known.
    Source: [@pal2021opening] section 3; the variants are those of its published code.
    """
    _check(steps.scaled_error, "error", "bs3, dp5, tsit5, vern7 or vern9")
    errors = steps.scaled_error if with_rounding else _without_rounding(steps)
    values = errors.square() if squared else errors
    return _aggregate(values, steps, aggregate, weight_by_dt, start=0.0 if count_start else None)


@outside_graphs
def stiffness_estimate(
    steps: StepRecord,
    aggregate: str = "sum",
    *,
    weight_by_dt: bool = True,
    squared: bool = False,
    count_start: bool = False,
    stability_size: float = 1.0,
) -> Tensor:
    """Sum of the stiffness estimates of all accepted steps, each times the step's length: sum_j S_j |dt_j|.

    The default is the paper's formula, the stiffness's integral over time. The published code instead takes the largest
    (`aggregate="max", weight_by_dt=False, count_start=True, stability_size=3.5068`), and divides by the method's real
    stability interval (3.5068 for `tsit5`); the paper's weights are stated without that division.

    Args:
        steps: record of a solve. Shape (steps,) each.
        aggregate: `"sum"` (paper), `"mean"` or `"max"` (published code).
        weight_by_dt: multiply each estimate by its step's length.
        squared: square the estimates.
        count_start: count the estimate 1 that the published code holds before the first step.
        stability_size: what the estimates are divided by, 1/time for a step of unit length.
    Returns:
        Shape (), dimensionless if weighted, else 1/time; >= 0.
    Raises:
        ValueError: the method has no stiffness estimate, no step was taken, or the aggregate is unknown.
    Source: [@pal2021opening] section 3, after [@shampine1977stiffness].
    """
    _check(steps.stiffness, "stiffness", "dp5, tsit5, vern7 or vern9")
    stability_size = positive(stability_size, "stability_size")
    values = steps.stiffness / stability_size
    start = 1.0 / stability_size if count_start else None
    if squared:
        values, start = values.square(), None if start is None else start * start
    return _aggregate(values, steps, aggregate, weight_by_dt, start)


def _check(values: Tensor, kind: str, methods: str) -> None:
    if values.numel() == 0:
        raise ValueError("the record holds no step; regularize a solve that accepted at least one")
    if bool(values.isnan().any()):
        raise ValueError(f"the method of these steps has no {kind} estimate; solve with {methods}")


def _without_rounding(steps: StepRecord) -> Tensor:
    if bool(steps.rounding.isnan().any()):
        raise ValueError(
            "the rounding of these steps is not known; pass with_rounding=True, or adaptive steps of an ODEProblem by "
            "the embedded engine"
        )
    return (steps.scaled_error - steps.rounding).clamp_min(0)


def _aggregate(values: Tensor, steps: StepRecord, aggregate: str, weight_by_dt: bool, start: float | None) -> Tensor:
    if aggregate not in AGGREGATES:
        raise ValueError(f"aggregate is {aggregate!r}; pass one of {', '.join(map(repr, AGGREGATES))}")
    if weight_by_dt:
        values = values * steps.dt.abs()
    if start is not None:
        # At the start no step was taken: weighted by dt, its value vanishes.
        values = torch.cat([values.new_tensor([0.0 if weight_by_dt else start]), values])
    return {"sum": values.sum, "mean": values.mean, "max": values.max}[aggregate]()
