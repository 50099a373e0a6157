"""Guidance rescale against over-exposure."""

from dataclasses import dataclass

from fewstep.denoiser import Denoises
from fewstep.guidance.base import Guidance
from fewstep.process import over
from fewstep.types import Cond, T, X

__all__ = ["Rescale"]


@dataclass(frozen=True)
class Rescale(Guidance):
    """``share D_w std(D_c) / std(D_w) + (1 - share) D_w``, deviations per item over all its entries.

    Exact when ``share`` is 1: the result has the plain estimate's deviation.
    Source: Lin et al. 2023, arXiv 2305.08891, eq. 15-16.  *Ours*: on the estimate of the data, where the official
    code rescales the raw network output.
    """

    share: float = 0.7

    SOURCE = "arXiv 2305.08891"

    def apply(self, guided: Denoises, plain: Denoises, x: X, t: T, c: Cond) -> X:
        """Return the rescaled estimate."""
        strong, mild = guided(x, t, c), plain(x, t, c)
        ratio = mild.flatten(1).std(1) / strong.flatten(1).std(1)
        return strong * over(self.share * ratio + (1 - self.share), x)
