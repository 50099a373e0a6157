"""The question a discriminator is asked: how real does this noisy x look?"""

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Protocol

import torch
from torch import Tensor, nn

from fewstep.denoiser import Denoiser
from fewstep.types import Cond, Cost, Logits, T, X

__all__ = ["Critic", "Judges", "has_heads"]


class Judges(Protocol):
    """A network that can be called as a discriminator."""

    def __call__(self, x: Tensor, label: Tensor, c: Tensor | None, *, judge: int) -> Tensor | Sequence[Tensor]:
        """Return logits where ``judge`` is not 0: (b,) of one head, or for each of several heads one ``Logits``.

        A network with a pool of heads lets some of them speak: the same for the same number.
        """


@dataclass(frozen=True)
class Critic:
    """A view of a network with heads: the logits that (x, t, c) comes from the data.

    The network is the denoiser's own, so its features are borrowed: called with ``judge`` it answers with the logits
    of its heads instead of an estimate of the data.
    """

    denoiser: Denoiser
    judge: int = 1

    @property
    def net(self) -> nn.Module:
        """The network with heads."""
        return self.denoiser.net

    def heads(self, x: X, t: T, c: Cond = None) -> list[Logits]:
        """Return what every head says, each by itself: a loss of a mean is not the mean of the losses."""
        view = self.denoiser
        x, t = view.asked(x, t)
        fed = view.prediction.input(view.process, x, t)
        net: Judges = view.net
        said = net(fed, view.process.label(t).to(x.dtype), c, judge=self.judge)
        if isinstance(said, Tensor):
            return [said.to(x.dtype)[:, None]]
        return [each.to(x.dtype) for each in said]

    def __call__(self, x: X, t: T, c: Cond = None) -> Cost:
        """Return one logit per item: the mean over the heads of the means over their places."""
        logits = [each for each in self.heads(x, t, c) if each.ndim == 2]
        return torch.stack([each.mean(1) for each in logits]).mean(0)


def has_heads(view: Denoiser) -> bool:
    """Say whether the network of a view can be asked to judge; wrappers, which pass on what they are given, can."""
    known = signature(view.net.forward).parameters.values()
    return any(each.name == "judge" or each.kind is Parameter.VAR_KEYWORD for each in known)
