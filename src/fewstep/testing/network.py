"""Networks that are exact, or as simple as can be."""

import torch
from torch import Tensor, nn

from fewstep.errors import RecipeError
from fewstep.predict import Prediction
from fewstep.process import Process
from fewstep.testing.worlds import World
from fewstep.types import T

__all__ = ["Affine", "as_network", "time_of"]


def time_of(process: Process, label: Tensor) -> T:
    """Return the time whose label this is, by bisection; where several share it, the largest.

    Needs float64 labels that rise with t: single precision gives seven digits.
    """
    target = label.double()
    low, high = torch.zeros_like(target), torch.full_like(target, process.t_max)
    for _ in range(64):
        middle = (low + high) / 2
        below = process.label(middle) <= target
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return high


def as_network(world: World, prediction: Prediction, against: World | None = None) -> nn.Module:
    """Return a module that puts out what ``prediction`` says, so that its view by that prediction is ``world``.

    It has one parameter, ``shift``, 0 at first, which is added to the estimate of the data.  Called with
    ``judge=True`` it is the best critic of ``world`` against ``against``: the logit is the log of the ratio of their
    densities.  Exact when x is float64 and the label of the time differs from those of other times.
    """
    return _WorldNetwork(world, prediction, against)


class _WorldNetwork(nn.Module):
    def __init__(self, world: World, prediction: Prediction, against: World | None) -> None:
        super().__init__()
        self.world, self.prediction, self.against = world, prediction, against
        self.shift = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(
        self, fed: Tensor, label: Tensor, c: Tensor | None = None, label_s: Tensor | None = None, judge: int = 0
    ) -> Tensor:
        """Return the output, or with ``judge`` one logit per item."""
        process = self.world.process
        t = time_of(process, label).clamp_min(1e-6 * process.t_max)  # at 0 most predictions have no output
        x = fed / self.prediction.input(process, torch.ones_like(fed), t)
        if not judge:
            return self.prediction.output(process, self.world(x, t, c) + self.shift.to(x), x, t)
        if self.against is None:
            raise RecipeError("this network cannot judge; build it with 'against', the world of the generated items.")
        return self.world.log_density(x, t) - self.against.log_density(x, t) + self.shift.to(x)


class Affine(nn.Module):
    """``net(x, label, c) = offset + matrix x`` for points x (b, d), whatever the time: a one-step generator."""

    def __init__(self, offset: Tensor, matrix: Tensor) -> None:
        super().__init__()
        self.offset, self.matrix = nn.Parameter(offset.clone()), nn.Parameter(matrix.clone())

    def forward(self, x: Tensor, label: Tensor, c: Tensor | None = None) -> Tensor:
        """Return ``offset + matrix x``, (b, d)."""
        return self.offset + x @ self.matrix.T
