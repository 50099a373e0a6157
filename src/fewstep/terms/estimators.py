"""How the difference of two denoisers becomes a gradient for the samples."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, cast

import torch
from torch import Tensor

from fewstep.process import over
from fewstep.scalars import Progress
from fewstep.terms.metrics import L2, Metric
from fewstep.types import Cost, T, X

__all__ = ["Detached", "Estimator", "Identity", "Shortened"]


class Estimator(ABC):
    """A cost per item, made of a sample, the two denoisers' estimates of it at x_t, and a factor."""

    through: ClassVar[bool] = False
    """Whether gradients pass through both denoisers, by way of x_t, to the sample."""

    @abstractmethod
    def __call__(self, x0: X, real: X, fake: X, weight: T, progress: Progress) -> Cost:
        """Return the cost of each item, (b,)."""


@dataclass(frozen=True)
class Detached(Estimator):
    """``1/2 mean (x0 - sg[x0 - g])^2`` with ``g = w (D_fake - D_real)``: the gradient at x0 is g / dimensions.

    Exact when the fake score is the student's: the gradient of an integral of KL divergences over t.
    Source: Diff-Instruct, arXiv 2305.18455, section 3; in this form DMD2, arXiv 2405.14867 (its code).
    """

    def __call__(self, x0: X, real: X, fake: X, weight: T, progress: Progress) -> Cost:
        """Return half the mean square of the direction."""
        target = (x0 - over(weight, x0) * (fake - real)).detach()
        return (x0 - target).square().flatten(1).mean(1) / 2


@dataclass(frozen=True)
class Shortened(Estimator):
    """``w d(x0, sg[x0 - (D_fake - D_real)])``: the direction as a robust metric shortens it.

    With twice ``L2`` it is ``Detached``.  Source: TDM, arXiv 2503.06674 (its code: ``Huber`` with c = 0.001).
    """

    metric: Metric

    def __call__(self, x0: X, real: X, fake: X, weight: T, progress: Progress) -> Cost:
        """Return the weighted distance to where the direction leads."""
        return weight.to(x0.dtype) * self.metric(x0, (x0 - (fake - real)).detach(), progress)


@dataclass(frozen=True)
class Identity(Estimator):
    """``w [(1 - alpha) d(y) + d'(y) . (x0 - D_fake) / 2]`` with ``y = D_fake - D_real``, d the distance to 0.

    The gradient passes through both denoisers to x_t.  Exact when the fake score is the student's, whose mean estimate
    of x0 at x_t then is D_fake: the second part is 0 on average for every student, its gradient half that of ``E d(y)``
    with the law of x_t held; the gradient of the whole is half that of ``E d(y)`` where alpha is 1/2.
    ``L2`` is the Fisher divergence of SiD, ``PseudoHuber`` with alpha 1 is SIM: its length is bounded by itself, so it
    needs no other factor than ``Plain``.
    Source: SIM, arXiv 2410.16794, section 3.2; alpha: SiD, arXiv 2404.04057, section 4, and its code (sums for means).
    *Ours*: the distance is taken between estimates of the data, which are the scores' times sigma^2 / alpha_t.
    """

    alpha: float = 1.0
    distance: Metric = field(default_factory=L2)

    through = True

    def __call__(self, x0: X, real: X, fake: X, weight: T, progress: Progress) -> Cost:
        """Return a cost whose gradient counts; its value does not."""

        def d(y: Tensor) -> Tensor:
            return self.distance(y, torch.zeros_like(y), progress)

        size, slope = cast(tuple[Tensor, Tensor], torch.func.jvp(d, (fake - real,), (x0 - fake,)))
        return weight.to(x0.dtype) * ((1 - self.alpha) * size + slope / 2)
