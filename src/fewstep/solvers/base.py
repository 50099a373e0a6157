"""What a solver is."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import pairwise
from typing import ClassVar

from torch import Tensor

from fewstep.denoiser import Denoises
from fewstep.draws import Draws
from fewstep.types import Cond, T, X

__all__ = ["Solver", "per_item"]


class Solver(ABC):
    """A rule that carries x along a list of times with the help of a denoiser."""

    order: int
    """The global error falls as (step size)^order on a smooth ODE; 0 for stochastic rules."""

    stepwise: ClassVar[bool] = False
    """Whether a step depends on nothing but its x, so that a path can be taken one step at a time."""

    @abstractmethod
    def __call__(self, denoiser: Denoises, x: X, times: Tensor, c: Cond = None, draws: Draws | None = None) -> X:
        """Return x at the last of ``times``; stochastic rules take their noise from ``draws``."""

    @abstractmethod
    def calls(self, steps: int) -> int:
        """Return the network calls of that many steps, the last of which ends at time 0."""


def per_item(times: Tensor, x: X) -> Iterator[tuple[T, T]]:
    """Yield (from, to) of each step, one time per item, float64 on the device of x."""
    whole = times.to(x.device).double()
    if whole.ndim == 1:
        whole = whole[:, None].expand(-1, len(x))
    yield from pairwise(whole)
