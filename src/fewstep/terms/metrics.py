"""How two batches are compared: one number per item, each class stating its reduction."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from fewstep.types import Cost, X

__all__ = ["L1", "L2", "L2Norm", "Metric", "PseudoHuber"]


class Metric(ABC):
    """A distance per item."""

    @abstractmethod
    def __call__(self, a: X, b: X) -> Cost:
        """Return the distance of each pair of items, (b,)."""


@dataclass(frozen=True)
class L2(Metric):
    """Mean of the squared differences."""

    def __call__(self, a: X, b: X) -> Cost:
        """Return ``mean (a - b)^2``."""
        return (a - b).square().flatten(1).mean(1)


@dataclass(frozen=True)
class L1(Metric):
    """Mean of the absolute differences."""

    def __call__(self, a: X, b: X) -> Cost:
        """Return ``mean |a - b|``."""
        return (a - b).abs().flatten(1).mean(1)


@dataclass(frozen=True)
class L2Norm(Metric):
    """The Euclidean norm over the whole item, not squared.  Source: ECT, arXiv 2406.14548, section 3.2."""

    def __call__(self, a: X, b: X) -> Cost:
        """Return ``||a - b||``; the gradient at a = b is 0."""
        square = (a - b).square().flatten(1).sum(1)
        return (square + 1e-16).sqrt()


@dataclass(frozen=True)
class PseudoHuber(Metric):
    """``sqrt(||d||^2 + C^2) - C`` over the whole item, with ``C = c sqrt(dimensions)``.

    ``||d||^2 / (2 C)`` for small d, ``||d|| - C`` for large d.  Source: iCT, arXiv 2310.14189, eq. 7 and c = 0.00054.
    """

    c: float = 0.00054

    def __call__(self, a: X, b: X) -> Cost:
        """Return the pseudo-Huber distance."""
        d = (a - b).flatten(1)
        knee = self.c * math.sqrt(d.shape[1])
        return (d.square().sum(1) + knee * knee).sqrt() - knee
