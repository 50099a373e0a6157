"""How much a time counts: ``weight(process, t, r) -> (b,)``; ``r`` is the neighbour where there is one."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from fewstep.process import Process
from fewstep.types import T

__all__ = ["EDMWeight", "Gap", "MinSNR", "One", "VelocityWeight", "Weight"]


class Weight(ABC):
    """A positive factor per item."""

    @abstractmethod
    def __call__(self, process: Process, t: T, r: T) -> T:
        """Return the weight of each item."""


@dataclass(frozen=True)
class One(Weight):
    """Every time alike."""

    def __call__(self, process: Process, t: T, r: T) -> T:
        """Return 1."""
        return torch.ones_like(t)


@dataclass(frozen=True)
class EDMWeight(Weight):
    """``(n^2 + d^2) / (n d)^2`` with noise level n = sigma / alpha and d = sigma_data: unit loss at the start.

    Source: arXiv 2206.00364, table 1 ("loss weighting").
    """

    def __call__(self, process: Process, t: T, r: T) -> T:
        """Return ``1/n^2 + 1/d^2``."""
        return process.logsnr(t).exp() + process.sigma_data**-2


@dataclass(frozen=True)
class VelocityWeight(Weight):
    """``((alpha + sigma) / sigma)^2``: the squared error of the velocity, written on x0."""

    def __call__(self, process: Process, t: T, r: T) -> T:
        """Return the weight that turns an error of x0 into one of ``z - x0``."""
        return (1 + process.alpha(t) / process.sigma(t)) ** 2


@dataclass(frozen=True)
class MinSNR(Weight):
    """``min(alpha^2 / sigma^2, cap)``.  Source: arXiv 2303.09556, eq. 8 (for x0 predictions)."""

    cap: float = 5.0

    def __call__(self, process: Process, t: T, r: T) -> T:
        """Return the capped signal-to-noise ratio."""
        return process.logsnr(t).exp().clamp_max(self.cap)


@dataclass(frozen=True)
class Gap(Weight):
    """``(t - r)^-power``: fine cells count more.  Source: iCT, arXiv 2310.14189, eq. 6 (power 1)."""

    power: float = 1.0

    def __call__(self, process: Process, t: T, r: T) -> T:
        """Return the inverse distance of the two times."""
        return (t - r) ** -self.power
