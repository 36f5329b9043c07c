"""A recurrent network that reads irregularly observed series."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from pyndereg.numbers import at_least

Direction = Literal["backward", "forward"]


class SeriesEncoder(nn.Module):
    """A gated recurrent unit over [values; mask; gap] that summarizes each series of a batch in one state.

    The state has two halves, "mean" and "spread", that share both gates. At every time, with x = [values; mask; gap],

        u, r = sigmoid(U([mean; spread; x])), sigmoid(R([mean; spread; x]))
        new mean, new spread = N([r * mean; r * spread; x])
        mean, spread = (1 - u) * new mean + u * mean, (1 - u) * new spread + u * spread

    where U, R and N have one hidden layer of tanh. A series changes its state only at times at which at least one of
    its features was observed; values that were not observed are not looked at.

    The published codes differ from this in two ways that we take for mistakes: both decide whether something was
    observed by a sum that includes the gap, so that empty times change the state too; and that of [@pal2023locally]
    updates the mean by the new spread.

    Args:
        features: numbers in a series at one time.
        state: size of each half of the state.
        hidden: size of the hidden layers.
        direction: from the last time to the first, or from the first to the last.
        first_spread: where the second half of the state starts; the first half starts at 0.
        bounded: whether N ends in a tanh.
    Source: [@rubanova2019latent], the encoder; sizes, linear N and the start at 0 as in the code of [@pal2021opening],
        direction="forward", first_spread=1 and bounded=True as in that of [@pal2023locally].
    """

    def __init__(
        self,
        features: int,
        *,
        state: int = 50,
        hidden: int = 40,
        direction: Direction = "backward",
        first_spread: float = 0.0,
        bounded: bool = False,
    ) -> None:
        super().__init__()
        if direction not in get_args(Direction):
            raise ValueError(f"direction is {direction!r}; pass one of {', '.join(get_args(Direction))}")
        features, state, hidden = (
            at_least(size, 1, name) for name, size in (("features", features), ("state", state), ("hidden", hidden))
        )
        inputs = 2 * state + 2 * features + 1
        self.update_gate = _gate(inputs, hidden, state)
        self.reset_gate = _gate(inputs, hidden, state)
        self.new_state = nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, 2 * state))
        if bounded:
            self.new_state.append(nn.Tanh())
        self.features, self.state = features, state
        self.direction: Direction = direction
        self.first_spread = first_spread

    def forward(self, values: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """The state after all times.

        Args:
            values: what was observed; anything, even NaN, where nothing was. Shape (batch, times, features).
            mask: nonzero where a value was observed. Shape (batch, times, features).
            times: ascending. Shape (times,), any unit.
        Returns:
            Shape (batch, 2 * state), dimensionless.
        """
        seen = mask != 0
        inputs = torch.cat([values.where(seen, 0.0), seen.to(values.dtype)], dim=-1)
        changes = seen.any(dim=-1, keepdim=True)
        mean = values.new_zeros(len(values), self.state)
        spread = torch.full_like(mean, self.first_spread)
        places = range(len(times)) if self.direction == "forward" else reversed(range(len(times)))
        for place, gap in zip(places, self._gaps(times.to(inputs)), strict=True):
            x = torch.cat([inputs[:, place], gap.expand(len(values), 1)], dim=-1)
            new_mean, new_spread = self._update(mean, spread, x)
            mean = torch.where(changes[:, place], new_mean, mean)
            spread = torch.where(changes[:, place], new_spread, spread)
        return torch.cat([mean, spread], dim=-1)

    def _gaps(self, times: Tensor) -> Tensor:
        """Distance of each time to the one that was visited before, in the order of the visits; 0 for the first."""
        visited = times if self.direction == "forward" else times.flip(0)
        return torch.diff(visited, prepend=visited[:1]).abs()

    def _update(self, mean: Tensor, spread: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both halves of the state after one time, where something was observed."""
        before = torch.cat([mean, spread, x], dim=-1)
        keep, reset = self.update_gate(before), self.reset_gate(before)
        new_mean, new_spread = self.new_state(torch.cat([reset * mean, reset * spread, x], dim=-1)).chunk(2, dim=-1)
        return (1 - keep) * new_mean + keep * mean, (1 - keep) * new_spread + keep * spread


def _gate(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, outputs), nn.Sigmoid())
