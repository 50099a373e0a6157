"""Heun's method on the process' own clock."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fewstep.denoiser import Denoises
from fewstep.draws import Draws
from fewstep.process import over
from fewstep.solvers.base import Solver, per_item
from fewstep.types import Cond, X

__all__ = ["Heun"]


@dataclass(frozen=True)
class Heun(Solver):
    """An Euler step, then the same step with the mean of the velocities at both ends; no second call at time 0.

    Source: Karras et al. 2022, arXiv 2206.00364, algorithm 1.
    """

    order = 2
    stepwise = True
    SOURCE = "arXiv 2206.00364"

    def __call__(self, denoiser: Denoises, x: X, times: Tensor, c: Cond = None, draws: Draws | None = None) -> X:
        """Return x at the last of ``times``."""
        process = denoiser.process
        for t, s in per_item(times, x):
            first = process.velocity(x, denoiser(x, t, c), t)
            guess = x + over(s - t, x) * first
            if not s.any():
                x = guess
                continue
            inner = torch.where(s > 0, s, t)
            second = process.velocity(guess, denoiser(guess, inner, c), inner)
            mean = torch.where(over(s, x) > 0, (first + second) / 2, first)
            x = x + over(s - t, x) * mean
        return x

    def calls(self, steps: int) -> int:
        """Return two calls per step but the last."""
        return 2 * steps - 1
