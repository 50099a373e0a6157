"""Exponential moving averages of a network's weights."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fewstep.scalars import Progress, Scalar, scalar

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
    """A network that follows another one; its weights never carry a graph."""

    def __init__(self, of: nn.Module, rule: Ema) -> None:
        self.rule, self.net = rule, copy.deepcopy(of).requires_grad_(False)

    @torch.no_grad()
    def follow(self, of: nn.Module, progress: Progress) -> None:
        """Take one step towards the weights of ``of``; its buffers are copied."""
        mine, theirs = _tensors(self.net), _tensors(of)
        torch._foreach_lerp_(mine, theirs, 1 - self.rule.at(progress))
        for own, other in zip(self.net.buffers(), of.buffers(), strict=True):
            own.copy_(other)


def _tensors(net: nn.Module) -> list[Tensor]:
    return list(net.parameters())
