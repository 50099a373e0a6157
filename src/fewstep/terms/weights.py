"""How much a time counts: ``weight(process, t, r) -> (b,)``; ``r`` is the neighbour where there is one."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch

from fewstep.process import Process
from fewstep.types import T

__all__ = [
    "DataShare",
    "EDMWeight",
    "Gap",
    "MinSNR",
    "One",
    "SNRPlusOne",
    "SignalStep",
    "TruncatedSNR",
    "VelocityWeight",
    "Weight",
    "Within",
]


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


@dataclass(frozen=True)
class SNRPlusOne(Weight):
    """``alpha^2 / sigma^2 + 1``: the error of v, written on x0.  Source: arXiv 2403.06807, section 3.1."""

    def __call__(self, process: Process, t: T, r: T) -> T:
        """Return the signal-to-noise ratio plus one."""
        return process.logsnr(t).exp() + 1


@dataclass(frozen=True)
class TruncatedSNR(Weight):
    """``max(alpha^2 / sigma^2, 1)``.  Source: progressive distillation, arXiv 2202.00512, section 4."""

    def __call__(self, process: Process, t: T, r: T) -> T:
        """Return the signal-to-noise ratio, at least 1."""
        return process.logsnr(t).exp().clamp_min(1)


@dataclass(frozen=True)
class SignalStep(Weight):
    """``1 / (alpha_r (1 - e^(lambda_t - lambda_r)))^2`` with ``lambda = log(alpha / sigma)``.

    The error of the step's estimate of the data, whatever the length of the step.
    Source: BOOT, arXiv 2306.05544, eq. 9.
    """

    def __call__(self, process: Process, t: T, r: T) -> T:
        """Return the inverse square of the share of the estimate in a step from t to r."""
        share = 1 - ((process.logsnr(t) - process.logsnr(r)) / 2).exp()
        return 1 / (process.alpha(r) * share).square().clamp_min(1e-12)


@dataclass(frozen=True)
class DataShare(Weight):
    """``alpha``: on TrigFlow the ``cos t`` of continuous-time consistency.  Source: arXiv 2410.11081, section 4.1."""

    def __call__(self, process: Process, t: T, r: T) -> T:
        """Return the share of the data in x_t."""
        return process.alpha(t)


@dataclass(frozen=True)
class Within(Weight):
    """Another weight for times from ``low`` to ``high``, 0 elsewhere."""

    low: float
    high: float
    inside: Weight = field(default_factory=One)

    def __call__(self, process: Process, t: T, r: T) -> T:
        """Return the inner weight where t lies within."""
        return torch.where((t >= self.low) & (t <= self.high), self.inside(process, t, r), 0.0)
