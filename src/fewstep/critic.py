"""The question a discriminator is asked: how real does this noisy x look?"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from fewstep.denoiser import Denoiser
from fewstep.types import Cond, Cost, T, X

__all__ = ["Critic", "Judges"]


class Judges(Protocol):
    """A network that can be called as a discriminator."""

    def __call__(self, x: Tensor, label: Tensor, c: Tensor | None, *, judge: bool) -> Tensor:
        """Return logits (b,) when ``judge`` is true."""


@dataclass(frozen=True)
class Critic:
    """A view of a network with heads: the logit that (x, t, c) comes from the data, (b,).

    The network is the denoiser's own, so its features are borrowed: called with ``judge=True`` it answers with the
    logit of its heads instead of an estimate of the data.
    """

    denoiser: Denoiser

    @property
    def net(self) -> nn.Module:
        """The network with heads."""
        return self.denoiser.net

    def __call__(self, x: X, t: T, c: Cond = None) -> Cost:
        """Return one logit per item, the mean over the heads."""
        view = self.denoiser
        fed = view.prediction.input(view.process, x, t)
        net: Judges = view.net
        logit: Tensor = net(fed, view.process.label(t).to(x.dtype), c, judge=True)
        return logit.to(x.dtype)
