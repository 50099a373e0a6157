"""How long the direction of distribution matching is: the factor of the difference of the two denoisers."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from fewstep.process import Process
from fewstep.turn import Noised
from fewstep.types import T, X

__all__ = ["KL", "AlphaSigma", "NoisyResidual", "Normaliser", "Plain", "Residual", "Signal"]


class Normaliser(ABC):
    """The factor of the difference of the two denoisers."""

    @abstractmethod
    def __call__(self, process: Process, noised: Noised, real: X) -> T:
        """Return one factor per item."""


@dataclass(frozen=True)
class Residual(Normaliser):
    """``1 / mean |x0 - D_real|`` per item: the direction has the same size everywhere.

    Source: DMD, arXiv 2311.18828, eq. 8; without its factor alpha, as in DMD2.
    """

    def __call__(self, process: Process, noised: Noised, real: X) -> T:
        """Return the inverse mean distance of the sample to the teacher's estimate."""
        return 1 / (noised.x0 - real).abs().flatten(1).mean(1).double().clamp_min(1e-8)


@dataclass(frozen=True)
class NoisyResidual(Normaliser):
    """``1 / mean |x_t - D_real|`` per item: at high noise levels the direction is shorter than under ``Residual``.

    Source: DP-DMD, arXiv 2602.03139 (its code).
    """

    def __call__(self, process: Process, noised: Noised, real: X) -> T:
        """Return the inverse mean distance of the noisy sample to the teacher's estimate."""
        return 1 / (noised.x - real).abs().flatten(1).mean(1).double().clamp_min(1e-8)


@dataclass(frozen=True)
class Plain(Normaliser):
    """1, as in Diff-Instruct.  Source: arXiv 2305.18455."""

    def __call__(self, process: Process, noised: Noised, real: X) -> T:
        """Return 1."""
        return torch.ones_like(noised.t)


@dataclass(frozen=True)
class KL(Normaliser):
    """``alpha^2 / sigma^2``: the exact gradient of the divergence at each noise level, KL(student || teacher) alone."""

    def __call__(self, process: Process, noised: Noised, real: X) -> T:
        """Return the signal-to-noise ratio."""
        return process.logsnr(noised.t).exp()


@dataclass(frozen=True)
class AlphaSigma(Normaliser):
    """``alpha sigma``: ``sigma^2`` times the difference of the two predictions of the noise.

    Source: SwiftBrush, arXiv 2312.05239 (its code).
    """

    def __call__(self, process: Process, noised: Noised, real: X) -> T:
        """Return the product of the shares of data and noise."""
        return process.alpha(noised.t) * process.sigma(noised.t)


@dataclass(frozen=True)
class Signal(Normaliser):
    """``alpha / sqrt(alpha^2 + sigma^2)``, the alpha of a path that keeps the variance: 1 at the data, 0 at noise.

    Source: ADD, arXiv 2311.17042 (``c(t) = alpha_t``).
    """

    def __call__(self, process: Process, noised: Noised, real: X) -> T:
        """Return the share of the data in the noisy item."""
        return torch.sigmoid(process.logsnr(noised.t)).sqrt()
