"""What each choice of regularizer asks of a training solve, and what it adds to the loss."""

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor

from pyndereg.experiments.config import ODEConfig
from pyndereg.experiments.sde_config import SDEConfig
from pyndereg.experiments.train import PenaltyTerm
from pyndereg.ivp.solution import Solution, StepRecord
from pyndereg.regularizers import (
    Exponential,
    JacobianFrobenius,
    KineticEnergy,
    LocalError,
    Regularizer,
    TaylorDerivative,
    error_estimate,
    stiffness_estimate,
)

# The two readings of the global regularizers: what the code of [@pal2021opening] computes, which counts an initial
# value before the first step and divides stiffness by the real stability interval of tsit5, and what the paper prints.
ERROR_ESTIMATES = {"code": partial(error_estimate, aggregate="mean", count_start=True), "paper": error_estimate}
STIFFNESS_ESTIMATES = {
    "code": partial(stiffness_estimate, aggregate="max", weight_by_dt=False, count_start=True, stability_size=3.5068),
    "paper": stiffness_estimate,
}
SHARE_OF_STIFFNESS = 0.1  # where both are penalized together


def _mean_of_both(steps: StepRecord) -> Tensor:
    stiffness = stiffness_estimate(steps, "mean", weight_by_dt=False, count_start=True, stability_size=3.5068)
    return ERROR_ESTIMATES["code"](steps) + SHARE_OF_STIFFNESS * stiffness


def _sum_of_both(steps: StepRecord) -> Tensor:
    return error_estimate(steps) + SHARE_OF_STIFFNESS * stiffness_estimate(steps)


BOTH_ESTIMATES = {"code": _mean_of_both, "paper": _sum_of_both}
# Of stochastic equations: the mean in place of the largest, and the stability interval of sosri2.
SDE_STIFFNESS_ESTIMATE = partial(
    stiffness_estimate, aggregate="mean", weight_by_dt=False, count_start=True, stability_size=10.6
)
Estimate = Callable[[StepRecord], Tensor]


def solve_regularizers(config: ODEConfig) -> dict[str, Regularizer]:
    """What the training solves are asked for, in the order of their penalties, under the names of the weights.

    Empty for "none", and for what is computed from the record of the steps.
    Source: [@pal2023locally], [@kelly2020learning] and [@finlay2020how].
    """
    if config.regularizer in ("local-unbiased", "local-biased"):
        local = LocalError(
            sampling=config.regularizer.removeprefix("local-"),
            through_first_stage=config.local_gradient == "step",
            through_state=config.local_gradient == "solution",
        )
        return {"local": local}
    if config.regularizer == "taylor":
        return {"taylor": TaylorDerivative(order=config.taylor_order)}
    if config.regularizer == "rnode":
        return {"kinetic": KineticEnergy(), "jacobian": JacobianFrobenius()}
    return {}


def penalty_terms(config: ODEConfig) -> tuple[PenaltyTerm, ...]:
    """The terms that the configured regularizer adds to the loss; none for "none".

    The term of each name has the configuration's weight of that name, which decays exponentially from epoch to epoch.
    Source: [@pal2021opening] for "error", "stiffness" and "both"; else as `solve_regularizers`.
    """
    values = _local_penalties(solve_regularizers(config))
    estimates = {"error": ERROR_ESTIMATES, "stiffness": STIFFNESS_ESTIMATES, "both": BOTH_ESTIMATES}
    if config.regularizer in estimates:
        values[config.regularizer] = partial(_of_the_steps, estimate=estimates[config.regularizer][config.aggregates])
    return _weighted(values, config, config.epochs)


def sde_regularizers(config: SDEConfig) -> dict[str, LocalError]:
    """What the training solves of a stochastic equation are asked for, named as in `solve_regularizers`.

    As in the published code for stochastic equations, every stage of the fresh step is differentiated, and its state,
    length and increments are constants.
    Source: [@pal2023locally].
    """
    if config.regularizer in ("local-unbiased", "local-biased"):
        sampling = config.regularizer.removeprefix("local-")
        return {"local": LocalError(sampling=sampling, through_first_stage=True)}
    return {}


def sde_penalty_terms(config: SDEConfig, *, error: Estimate, updates: int) -> tuple[PenaltyTerm, ...]:
    """The terms that the configured regularizer adds to the loss of a stochastic equation; none for "none".

    Args:
        config: regularizer and weights.
        error: how the steps' error estimates become one number.
        updates: calls of the weight from the start to the end of its change: epochs or iterations.
    Source: [@pal2021opening]; the aggregates are those of its published code.
    """
    values = _local_penalties(sde_regularizers(config))
    if config.regularizer == "error":
        values["error"] = partial(_of_the_steps, estimate=error)
    if config.regularizer == "stiffness":
        values["stiffness"] = partial(_of_the_steps, estimate=SDE_STIFFNESS_ESTIMATE)
    return _weighted(values, config, updates)


def _local_penalties(regularizers: Mapping[str, Regularizer]) -> dict[str, Callable[[Solution], Tensor]]:
    return {name: partial(_penalty, place=place) for place, name in enumerate(regularizers)}


def _weighted(
    values: Mapping[str, Callable[[Solution], Tensor]], config: ODEConfig | SDEConfig, updates: int
) -> tuple[PenaltyTerm, ...]:
    """Each value with the configuration's weight of its name."""
    return tuple(
        PenaltyTerm(name, value, Exponential(*getattr(config, f"{name}_weight"), steps=updates))
        for name, value in values.items()
    )


def _penalty(solution: Solution, *, place: int) -> Tensor:
    return solution.penalties[place]


def _of_the_steps(solution: Solution, *, estimate: Callable[..., Tensor]) -> Tensor:
    return estimate(solution.steps)
