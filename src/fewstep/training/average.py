"""Exponential moving averages of a network's weights."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fewstep.scalars import Progress, Scalar, scalar
from fewstep.sharing import copy_sharing

__all__ = ["Average", "Ema"]


@dataclass(frozen=True)
class Ema:
    """``average <- decay average + (1 - decay) weights`` after each update.

    With ``warm`` the decay is at most ``(1 + n) / (10 + n)`` after n updates, so that the start is forgotten soon.
    """

    decay: Scalar
    warm: bool = True

    def at(self, progress: Progress) -> float:
        """Return the decay of this update."""
        decay = scalar(self.decay, progress)
        return min(decay, (1 + progress.update) / (10 + progress.update)) if self.warm else decay


class Average:
    """A network that follows another one; its weights never carry a graph.

    Of the parameters that are ``still`` there is one for both: nothing follows what does not move.
    """

    def __init__(self, of: nn.Module, rule: Ema, still: Iterable[nn.Parameter] = ()) -> None:
        self.rule, self.net = rule, copy_sharing(of, still).requires_grad_(False)

    @torch.no_grad()
    def follow(self, of: nn.Module, progress: Progress) -> None:
        """Take one step towards the weights of ``of``; its buffers are copied."""
        moving = [(a, b) for a, b in zip(self.net.parameters(), of.parameters(), strict=True) if a is not b]
        mine, theirs = (list[Tensor](pair[i] for pair in moving) for i in (0, 1))
        torch._foreach_lerp_(mine, theirs, 1 - self.rule.at(progress))
        for own, other in zip(self.net.buffers(), of.buffers(), strict=True):
            own.copy_(other)
