"""Classifier-free guidance."""

from dataclasses import dataclass, replace

from fewstep.condition import null
from fewstep.denoiser import Denoises
from fewstep.guidance.base import Guidance
from fewstep.process import over
from fewstep.types import Cond, T, X

__all__ = ["CFG"]


@dataclass(frozen=True)
class CFG(Guidance):
    """``D_w = D(x, t, n) + w (D(x, t, c) - D(x, t, n))`` with a negative condition n, the empty one by default.

    Costs a second network call unless ``scale`` is 1, where it is the identity to the last bit.  Exact when both
    laws are Gaussians of equal covariance: the result is the denoiser of the Gaussian with the extrapolated mean.
    Source: Ho and Salimans 2022, arXiv 2207.12598, eq. 6 (their weight is w - 1).
    """

    scale: float | T
    """One number for all items, or one per item."""

    negative: Cond = None
    """One per item, given at run time with ``against``."""

    SOURCE = "arXiv 2207.12598"

    @property
    def passes(self) -> int:
        """Return 2, or 1 where the scale is 1."""
        return 1 if isinstance(self.scale, int | float) and self.scale == 1 else 2

    def against(self, negative: Cond) -> "CFG":
        """Return the rule with this negative condition; itself at scale 1, where it plays no part."""
        return self if self.passes == 1 else replace(self, negative=negative)

    def apply(self, guided: Denoises, plain: Denoises, x: X, t: T, c: Cond) -> X:
        """Return the extrapolated estimate."""
        conditional = guided(x, t, c)
        if self.passes == 1 or c is None:
            return conditional
        reference = guided(x, t, null(c) if self.negative is None else self.negative)
        scale = self.scale if isinstance(self.scale, int | float) else over(self.scale, x)
        return reference + scale * (conditional - reference)
