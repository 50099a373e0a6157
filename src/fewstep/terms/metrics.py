"""How two batches are compared: one number per item, each class stating its reduction."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from fewstep.scalars import Progress, Scalar, scalar
from fewstep.types import Cost, X

__all__ = ["L1", "L2", "Cauchy", "Huber", "L2Norm", "Metric", "PseudoHuber"]

BEGINNING = Progress()


class Metric(ABC):
    """A distance per item."""

    @abstractmethod
    def __call__(self, a: X, b: X, progress: Progress = BEGINNING) -> Cost:
        """Return the distance of each pair of items, (b,); ``progress`` moves constants that change while training."""


@dataclass(frozen=True)
class L2(Metric):
    """Mean of the squared differences."""

    def __call__(self, a: X, b: X, progress: Progress = BEGINNING) -> Cost:
        """Return ``mean (a - b)^2``."""
        return (a - b).square().flatten(1).mean(1)


@dataclass(frozen=True)
class L1(Metric):
    """Mean of the absolute differences."""

    def __call__(self, a: X, b: X, progress: Progress = BEGINNING) -> Cost:
        """Return ``mean |a - b|``."""
        return (a - b).abs().flatten(1).mean(1)


@dataclass(frozen=True)
class L2Norm(Metric):
    """The Euclidean norm over the whole item, not squared.  Source: ECT, arXiv 2406.14548, section 3.2."""

    def __call__(self, a: X, b: X, progress: Progress = BEGINNING) -> Cost:
        """Return ``||a - b||``; the gradient at a = b is 0."""
        square = (a - b).square().flatten(1).sum(1)
        return (square + 1e-16).sqrt()


@dataclass(frozen=True)
class PseudoHuber(Metric):
    """``sqrt(||d||^2 + C^2) - C`` over the whole item, with ``C = c sqrt(dimensions)``.

    ``||d||^2 / (2 C)`` for small d, ``||d|| - C`` for large d.  Source: iCT, arXiv 2310.14189, eq. 7 and c = 0.00054.
    """

    c: Scalar = 0.00054

    def __call__(self, a: X, b: X, progress: Progress = BEGINNING) -> Cost:
        """Return the pseudo-Huber distance."""
        d = (a - b).flatten(1)
        knee = scalar(self.c, progress) * math.sqrt(d.shape[1])
        return (d.square().sum(1) + knee * knee).sqrt() - knee


@dataclass(frozen=True)
class Huber(Metric):
    """``mean (sqrt(d^2 + c^2) - c)``, value by value.  Source: LCM's training code in diffusers (c = 0.001)."""

    c: Scalar = 0.001

    def __call__(self, a: X, b: X, progress: Progress = BEGINNING) -> Cost:
        """Return the mean of the smoothed absolute differences."""
        c = scalar(self.c, progress)
        return (((a - b).square() + c * c).sqrt() - c).flatten(1).mean(1)


@dataclass(frozen=True)
class Cauchy(Metric):
    """``log(1 + m / (2 C^2))`` with m the mean squared difference: outliers hardly pull.

    ``m / (2 C^2)`` for small m; the pull is strongest at ``sqrt(m) = sqrt(2) C``.  Source: arXiv 2502.01441, eq. 8.
    """

    c: Scalar = 0.03

    def __call__(self, a: X, b: X, progress: Progress = BEGINNING) -> Cost:
        """Return the Cauchy distance."""
        mean = (a - b).square().flatten(1).mean(1)
        return (mean / (2 * scalar(self.c, progress) ** 2)).log1p()
