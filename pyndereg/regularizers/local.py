"""The local regularizers: one fresh step at a random time, so that any solver and any gradient will do."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pyndereg.ivp.sampling import Sampler, UniformStep, UniformTime
from pyndereg.ivp.solution import StepRecord
from pyndereg.numbers import positive

SAMPLINGS = ("unbiased", "biased")


@dataclass(frozen=True)
class LocalRegularizer:
    """What the local regularizers have in common; pass one in `regularizers=` of a solve or of a model.

    At a random time of the solution a fresh step is started, of the length that a solve from there would start with.
    As in the published code, the state, the step's length and its first stage are constants of the gradient: only the
    further stages are differentiated, with respect to the parameters. That is not the derivative of the penalty, and
    much larger where steps are short: the method notes say how much, and what follows for weights and methods.

    Args:
        sampling: `"unbiased"`, a time uniform over the interval, or `"biased"`, the start of one of the accepted steps,
            each equally often; the published code leaves out the first one, and draws save times where there are any.
        method: of the fresh step; `tsit5` by default, as in the published code.
        through_first_stage: differentiate the first stage, too: the derivative of the penalty at constant state. It is
            smaller by orders of magnitude, and wants a larger weight.
        through_state: let the gradient flow into the first stage and into the solution, too: the derivative of the
            penalty at constant time and step length.
        generator: source of randomness, on the CPU; None for torch's own.
    Source: [@pal2023locally], section 3.
    """

    sampling: str = "unbiased"
    method: str | None = None
    through_first_stage: bool = False
    through_state: bool = False
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        if self.sampling not in SAMPLINGS:
            raise ValueError(f"sampling is {self.sampling!r}; pass {' or '.join(map(repr, SAMPLINGS))}")

    @property
    def constant_start(self) -> bool:
        """Whether the first stage is a constant of the gradient."""
        return not (self.through_first_stage or self.through_state)

    def sampler(self, t0: float, t1: float) -> Sampler:
        """What chooses the time in a solve from t0 to t1."""
        return UniformTime(t0, t1, self.generator) if self.sampling == "unbiased" else UniformStep(self.generator)

    def penalty(self, steps: StepRecord) -> Tensor:
        """The penalty of the fresh step, whose record has one row. Shape ()."""
        raise NotImplementedError


@dataclass(frozen=True)
class LocalError(LocalRegularizer):
    """Scaled local error of one fresh step times its length, E |dt|, in the problem's time units.

    Arguments as in `LocalRegularizer`.
    """

    def penalty(self, steps: StepRecord) -> Tensor:
        """E |dt|. Shape ()."""
        _check(steps.scaled_error, "error", "bs3, dp5, tsit5, vern7 or vern9")
        return steps.scaled_error[0] * steps.dt[0].abs()


@dataclass(frozen=True)
class LocalStiffness(LocalRegularizer):
    """Stiffness estimate of one fresh step, in 1/time, over `stability_size`.

    Args:
        stability_size: what the estimate is divided by; the published code divides by the real stability interval of
            its method, 3.5068 for `tsit5`.
        sampling, method, through_first_stage, through_state, generator: as in `LocalRegularizer`.
    """

    stability_size: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "stability_size", positive(self.stability_size, "stability_size"))

    def penalty(self, steps: StepRecord) -> Tensor:
        """S / stability_size. Shape ()."""
        _check(steps.stiffness, "stiffness", "dp5, tsit5, vern7 or vern9")
        return steps.stiffness[0] / self.stability_size


def _check(values: Tensor, kind: str, methods: str) -> None:
    if bool(values.isnan().all()):
        raise ValueError(
            f"the local step has no {kind} estimate, as its method has none or f was not finite; pass method= one of "
            f"{methods}"
        )
