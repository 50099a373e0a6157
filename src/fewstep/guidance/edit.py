"""Guidance by two conditions: by the prompt, and by the image that is to be edited."""

from dataclasses import dataclass

from fewstep.condition import bare, null
from fewstep.denoiser import Denoises
from fewstep.guidance.base import Guidance
from fewstep.types import Cond, T, X

__all__ = ["EditCFG"]


@dataclass(frozen=True)
class EditCFG(Guidance):
    """``D(0, 0) + w_i (D(0, i) - D(0, 0)) + w (D(c, i) - D(0, i))`` for a prompt c and a source image i, 0 for neither.

    Exact when ``image`` is 1: ``CFG(scale)``, in two calls as that; else there are three.  The same for conditions that
    keep no image, where nothing tells D(0, i) from D(0, 0).
    Source: InstructPix2Pix, arXiv 2211.09800, eq. 3 (w is their s_T, w_i their s_I).
    """

    scale: float
    image: float = 1.5  # the default of the pipeline in diffusers

    SOURCE = "arXiv 2211.09800"

    @property
    def passes(self) -> int:
        """Return 3, or 2 where the image's scale is 1."""
        return 2 if self.image == 1 else 3

    def apply(self, guided: Denoises, plain: Denoises, x: X, t: T, c: Cond) -> X:
        """Return the estimate, extrapolated twice."""
        if c is None:
            return guided(x, t, c)
        both, image = guided(x, t, c), guided(x, t, null(c))
        change = image + self.scale * (both - image)
        return change if self.image == 1 else change + (self.image - 1) * (image - guided(x, t, bare(c)))
