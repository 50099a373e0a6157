"""From coarse to fine in the prompt: one concept begins the image, the whole prompt goes on."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fewstep.denoiser import Denoises
from fewstep.errors import RecipeError
from fewstep.guidance.base import Guidance
from fewstep.types import Cond, T, X

__all__ = ["PromptSwitch"]


@dataclass(frozen=True)
class PromptSwitch(Guidance):
    """``D(x, t, first)`` for the first share ``until`` of the steps, ``D(x, t, c)`` for the rest, in one pass.

    For two concepts of which one gets lost beside the other: give it the first steps alone.  It belongs outermost, the
    last of the rules, so that those below are asked about one condition at a time.  Shares are rounded to whole steps,
    at least one of each kind unless ``until`` is 0 (the plain prompt) or 1 (the first one throughout).  Without a first
    condition, and where both are equal, it is the identity to the last bit.
    Exact for two Gaussians of equal covariance: with k(a, b) the share of a distance that the flow from a to b keeps,
    the mean ends at ``k(s, 0) (1 - k(T, s)) m_first + (1 - k(s, 0)) m_c``, s the time of the switch.
    Source: Latent Concept Misalignment, arXiv 2408.00230 (MoCE).  *Ours*: the same network throughout, where the code
    hands over to a refiner; no search over ``until``, which 1 to 4 steps leave little choice.
    Raises ``RecipeError`` for shares outside of 0 to 1, for a single step, and outside of a sampler.
    """

    until: float = 0.25
    first: Cond = None
    """One condition for all items, (...) or (1, ...), given at run time."""

    above: float | None = None
    """The time of the switch, filled in by a sampler."""

    SOURCE = "arXiv 2408.00230"

    def __post_init__(self) -> None:
        if not 0 <= self.until <= 1:
            raise RecipeError(f"the first prompt was given the share {self.until} of the steps; accepted is 0 to 1.")

    def steps(self, count: int) -> int:
        """Return how many of so many steps are the first prompt's."""
        if self.until in (0, 1):
            return int(self.until) * count
        if count == 1:
            raise RecipeError(
                f"one step cannot be shared: the first prompt was given {self.until} of it. Take 2 steps or more."
            )
        return min(max(math.floor(self.until * count + 0.5), 1), count - 1)

    def on(self, times: Tensor) -> "PromptSwitch":
        """Return the rule for a walk down these times."""
        if self.first is None:
            return self
        begun = self.steps(len(times) - 1)
        return replace(self, above=-math.inf if begun == len(times) - 1 else float(times[begun]))

    def apply(self, guided: Denoises, plain: Denoises, x: X, t: T, c: Cond) -> X:
        """Return the estimate under the prompt of that time."""
        if self.first is None:
            return guided(x, t, c)
        if self.above is None or c is None:
            raise RecipeError(
                "a prompt was to be switched on the way, outside of a sampler or without a prompt to switch to; "
                "accepted is the sampler of a model that takes conditions: model.under(PromptSwitch(0.25, first))."
            )
        early = t > self.above
        if not early.any():
            return guided(x, t, c)
        first = self.first.to(c.device, c.dtype).expand_as(c)
        if early.all():
            return guided(x, t, first)
        return guided(x, t, torch.where(early.to(c.device).reshape(-1, *(1 for _ in c.shape[1:])), first, c))
