"""A convolutional vector field of images with batch normalization inside, and what that means in an adaptive solver.

Batch normalization has two answers, and both must be a vector field, a function of time and state that a solver may ask
as often as it likes:

- in training mode it normalizes with the means and variances of the batch at the very point where it is evaluated. The
  state of the whole batch is one state, so this is a function of time and state like any other, and its derivative
  takes the statistics along. Every gradient, whether it keeps the graph, takes the steps again or solves the adjoint
  equation, differentiates that same function;
- in evaluation mode it normalizes with running statistics, which are constants.

The running statistics move with the forward solve alone, once for each of its evaluations, as in the published code.
The evaluations of a backward pass, of a local regularizer's fresh step or of dense output leave them as they are: what
is predicted after training does not depend on how the gradient was computed.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

KERNEL, PADDING = 3, 1  # every convolution keeps height and width


class TimeConv2d(nn.Module):
    """A 3 by 3 convolution without bias over [x; t], time as one more channel, without building the concatenation.

    Weights start Glorot-uniform over all channels, time included, as in the published code.

    Args:
        inputs, outputs: channels, time not counted.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        weight = nn.init.xavier_uniform_(torch.empty(outputs, inputs + 1, KERNEL, KERNEL))
        self.weight = nn.Parameter(weight[:, :-1].clone())
        self.time_weight = nn.Parameter(weight[:, -1:].clone())

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """t () and x (batch, inputs, height, width) -> (batch, outputs, height, width)."""
        time = t.to(x.dtype).expand(1, 1, *x.shape[-2:])
        of_time = functional.conv2d(time, self.time_weight, padding=PADDING)
        return functional.conv2d(x, self.weight, padding=PADDING) + of_time


class FieldNorm(nn.BatchNorm2d):
    """Batch normalization inside a vector field; the module's text says what it promises.

    Between `observe` and `move_statistics` it remembers the statistics of the batches that it normalizes. Arguments as
    `torch.nn.BatchNorm2d`, whose parameters and buffers it has.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self._seen: list[tuple[Tensor, Tensor]] | None = None

    def forward(self, input: Tensor) -> Tensor:
        """(batch, channels, height, width) -> the same shape."""
        if not self.training:
            return super().forward(input)
        mean, variance = input.new_zeros(self.num_features), input.new_zeros(self.num_features)
        # With momentum 1 the "running" statistics that torch writes are those of this batch; what was there before
        # counts 0 times, and so must be finite.
        output = functional.batch_norm(
            input, mean, variance, self.weight, self.bias, training=True, momentum=1.0, eps=self.eps
        )
        if self._seen is not None:
            self._seen.append((mean, variance))
        return output

    def observe(self) -> None:
        """Remember the statistics of the batches from now on."""
        self._seen = []

    @torch.no_grad()
    def move_statistics(self, evaluations: int) -> None:
        """Move the running statistics with the first so many batches since `observe`, and remember no more."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        for mean, variance in (self._seen or [])[:evaluations]:
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance, self.momentum)
        self._seen = None


class ConvolutionalField(nn.Module):
    """The vector field of images f(t, x) = C3([g(N2(C2([g(N1(C1([x; t]))); t]))); t]).

    C are 3 by 3 convolutions without bias, N batch normalizations, g the Gaussian error linear unit, by its usual
    approximation with tanh, as in the published code.

    Args:
        channels: of the state.
        hidden: channels of the layers between.
    Source: [@pal2023locally], the classifier of CIFAR-10.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.first, self.second = TimeConv2d(channels, hidden), TimeConv2d(hidden, hidden)
        self.last = TimeConv2d(hidden, channels)
        self.norms = nn.ModuleList([FieldNorm(hidden), FieldNorm(hidden)])

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """t () and x (batch, channels, height, width) -> dx/dt of x's shape."""
        for convolution, norm in zip((self.first, self.second), self.norms, strict=True):
            x = gelu(norm(convolution(t, x)))
        return self.last(t, x)

    def observe(self) -> None:
        """Remember the statistics of the batches from now on."""
        for norm in self.field_norms:
            norm.observe()

    def move_statistics(self, evaluations: int) -> None:
        """Move the running statistics with the first so many evaluations since `observe`."""
        for norm in self.field_norms:
            norm.move_statistics(evaluations)

    @property
    def field_norms(self) -> list[FieldNorm]:
        """The batch normalizations, in order."""
        return [norm for norm in self.norms if isinstance(norm, FieldNorm)]


def gelu(x: Tensor) -> Tensor:
    """The Gaussian error linear unit by its approximation with tanh. Any shape."""
    return functional.gelu(x, approximate="tanh")
