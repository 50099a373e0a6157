"""A student: where does the probability-flow ODE from (x, t) stand at time s?"""

from dataclasses import dataclass

import torch

from fewstep.denoiser import Denoises
from fewstep.errors import RecipeError
from fewstep.process import Process
from fewstep.types import Cond, T, X

__all__ = ["FlowMap", "check_boundary"]


@dataclass(frozen=True)
class FlowMap:
    """``G(x, t, s, c)`` = the DDIM step from t to s along the denoiser's estimate.

    Any denoiser is a flow map in this way; ``G(x, t, t) = x`` to the last bit and ``G(x, t, 0)`` is the estimate.
    A denoiser whose network takes the second time can represent every flow map exactly; one without it, every
    map to s = 0.  Source: CTM, arXiv 2310.02279, eq. 4; the step itself is DDIM, arXiv 2010.02502, eq. 12.
    """

    denoiser: Denoises

    @property
    def process(self) -> Process:
        """The path on which x lives."""
        return self.denoiser.process

    def __call__(self, x: X, t: T, s: T, c: Cond = None) -> X:
        """Return the state at time s <= t, (b, ...)."""
        return self.process.step(x, self.denoiser(x, t, c, s), t, s)


@torch.no_grad()
def check_boundary(denoiser: Denoises, like: X, c: Cond = None, low: float = 0.0, tolerance: float = 0.1) -> None:
    """Raise ``RecipeError`` unless ``D(x, low) = x`` up to ``tolerance``: the anchor of every consistency cost.

    The tolerance allows for a lowest time just above 0; a network that predicts x0 is off by the size of the data.
    """
    t = torch.full((len(like),), low, dtype=torch.float64, device=like.device)
    gap = (denoiser(like, t, c) - like).abs().max().item()
    if not gap <= tolerance:
        raise RecipeError(
            f"at time {low:g} the student changes its input by up to {gap:.3g}, but a consistency cost needs "
            "f(x, t) = x there, or every constant solves it. Use the prediction edm, eps, v or velocity for the "
            "student, which have this boundary by construction; x0 has not."
        )
