"""Euler's method on the process' own clock."""

from dataclasses import dataclass

from torch import Tensor

from fewstep.denoiser import Denoises
from fewstep.draws import Draws
from fewstep.process import over
from fewstep.solvers.base import Solver, per_item
from fewstep.types import Cond, X

__all__ = ["Euler"]


@dataclass(frozen=True)
class Euler(Solver):
    """``x_s = x_t + (s - t) dx/dt``.  The same as DDIM where alpha and sigma are straight lines in t (EDM, linear).

    Source: Karras et al. 2022, arXiv 2206.00364, algorithm 1 without its second half.
    """

    order = 1
    stepwise = True
    SOURCE = "arXiv 2206.00364"

    def __call__(self, denoiser: Denoises, x: X, times: Tensor, c: Cond = None, draws: Draws | None = None) -> X:
        """Return x at the last of ``times``."""
        for t, s in per_item(times, x):
            x = x + over(s - t, x) * denoiser.process.velocity(x, denoiser(x, t, c), t)
        return x

    def calls(self, steps: int) -> int:
        """Return one call per step."""
        return steps
