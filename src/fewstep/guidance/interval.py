"""Guidance in a limited interval of noise levels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fewstep.denoiser import Denoises
from fewstep.guidance.base import Guidance
from fewstep.process import Process, over
from fewstep.types import Cond, T, X

__all__ = ["Interval"]


@dataclass(frozen=True)
class Interval(Guidance):
    """Guide only where ``low < sigma / alpha <= high``; elsewhere the plain denoiser answers, at its own cost.

    Source: Kynkaanniemi et al. 2024, arXiv 2404.07724, section 3.
    """

    low: float
    high: float

    SOURCE = "arXiv 2404.07724"

    def reaches(self, process: Process, times: Tensor) -> bool:
        return bool(self._inside(process, times).any())

    def apply(self, guided: Denoises, plain: Denoises, x: X, t: T, c: Cond) -> X:
        """Return the guided estimate for the items inside the interval, the plain one for the others."""
        inside = self._inside(plain.process, t)
        if inside.all():
            return guided(x, t, c)
        if not inside.any():
            return plain(x, t, c)
        return torch.where(over(inside.double(), x) > 0, guided(x, t, c), plain(x, t, c))

    def _inside(self, process: Process, t: Tensor) -> Tensor:
        level = (-process.logsnr(t) / 2).exp()
        return (level > self.low) & (level <= self.high)
