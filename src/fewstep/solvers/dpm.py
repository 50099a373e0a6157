"""DPM-Solver++, second order, multistep."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fewstep.denoiser import Denoises
from fewstep.draws import Draws
from fewstep.process import over
from fewstep.solvers.base import Solver, per_item
from fewstep.types import Cond, T, X

__all__ = ["DPMSolver"]


@dataclass(frozen=True)
class DPMSolver(Solver):
    """DPM-Solver++(2M): a DDIM step along the estimate extrapolated from the last two calls.

    With ``h = lambda_s - lambda_t``, ``lambda = log(alpha / sigma)`` and ``r = h_previous / h``:
    ``D' = (1 + 1/(2r)) D - 1/(2r) D_previous``, ``x_s = (sigma_s/sigma_t) x + alpha_s (1 - e^-h) D'``.
    The first step, and a last one to time 0, are plain DDIM.
    Source: Lu et al. 2022, arXiv 2211.01095, algorithm 2.
    """

    order = 2
    SOURCE = "arXiv 2211.01095"

    def __call__(self, denoiser: Denoises, x: X, times: Tensor, c: Cond = None, draws: Draws | None = None) -> X:
        """Return x at the last of ``times``."""
        process = denoiser.process
        previous: tuple[T, X] | None = None
        for t, s in per_item(times, x):
            x0 = denoiser(x, t, c)
            here, there = process.logsnr(t) / 2, process.logsnr(s) / 2
            ahead = x0
            if previous is not None:
                before, old = previous
                half = torch.where(there.isfinite(), (there - here) / (here - before) / 2, 0.0)
                ahead = over(1 + half, x) * x0 - over(half, x) * old
            x, previous = process.step(x, ahead, t, s), (here, x0)
        return x

    def calls(self, steps: int) -> int:
        """Return one call per step."""
        return steps
