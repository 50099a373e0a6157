"""Classifier-free guidance."""

from dataclasses import dataclass

from fewstep.condition import null
from fewstep.denoiser import Denoises
from fewstep.guidance.base import Guidance
from fewstep.types import Cond, T, X

__all__ = ["CFG"]


@dataclass(frozen=True)
class CFG(Guidance):
    """``D_w = D(x, t, null) + w (D(x, t, c) - D(x, t, null))``.

    Costs a second network call unless ``scale`` is 1, where it is the identity to the last bit.  Exact when both
    laws are Gaussians of equal covariance: the result is the denoiser of the Gaussian with the extrapolated mean.
    Source: Ho and Salimans 2022, arXiv 2207.12598, eq. 6 (their weight is w - 1).
    """

    scale: float

    SOURCE = "arXiv 2207.12598"

    def apply(self, guided: Denoises, plain: Denoises, x: X, t: T, c: Cond) -> X:
        """Return the extrapolated estimate."""
        conditional = guided(x, t, c)
        if self.scale == 1 or c is None:
            return conditional
        reference = guided(x, t, null(c))
        return reference + self.scale * (conditional - reference)
