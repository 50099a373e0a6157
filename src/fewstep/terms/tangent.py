"""Consistency in the limit of neighbouring times: the flow map must not change along a trajectory."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from fewstep.draws import dropout_from
from fewstep.endpoints import Endpoint, Origin
from fewstep.predict import Prediction, Velocity
from fewstep.process import Process, over
from fewstep.scalars import Scalar, scalar
from fewstep.terms.base import Term, asked
from fewstep.terms.slopes import DataSlope, Slope
from fewstep.terms.states import Diffused, States
from fewstep.terms.weights import One, Weight
from fewstep.times import Law, LogNormal
from fewstep.turn import Turn
from fewstep.types import Cost, T, X

__all__ = ["Adaptive", "Square", "Taming", "Tangent", "Unit"]


class Taming(ABC):
    """How the change that is asked of an output, whose size varies by orders of magnitude, becomes a cost."""

    @abstractmethod
    def __call__(self, output: X, change: X) -> Cost:
        """Return the cost of each item, (b,): its gradient with respect to ``output`` points along ``-change``."""


@dataclass(frozen=True)
class Square(Taming):
    """``||h||^2 / dimensions``."""

    def __call__(self, output: X, change: X) -> Cost:
        """Return the mean square."""
        return (output - (output + change).detach()).square().flatten(1).mean(1)


@dataclass(frozen=True)
class Unit(Taming):
    """The direction at length one: ``h / (||h|| + c)``, ``||.||`` the norm over the item.

    Source: sCM, arXiv 2410.11081, section 4.2 (c = 0.1).  *Ours*: no learned weighting by time on top.
    """

    c: float = 0.1

    def __call__(self, output: X, change: X) -> Cost:
        """Return the mean square of the shortened residual."""
        axes = tuple(range(1, change.ndim))
        short = change / (change.square().sum(axes, keepdim=True).sqrt() + self.c)
        return (output - (output + short).detach()).square().flatten(1).mean(1)


@dataclass(frozen=True)
class Adaptive(Taming):
    """``||h||^2 / sg(||h||^2 + c)^p``, sums over the item.  Source: MeanFlow, arXiv 2505.13447, eq. 22 (p = 1)."""

    p: float = 1.0
    c: float = 1e-3

    def __call__(self, output: X, change: X) -> Cost:
        """Return the weighted sum of squares."""
        square = (output - (output + change).detach()).square().flatten(1).sum(1)
        return square / (square.detach() + self.c) ** self.p


@dataclass(frozen=True)
class Tangent(Term):
    """``E d(F, sg[F + h])``: h is the change of the network's output F that would stop ``dG/dt`` along the slope.

    ``dG/dt`` is the total derivative of the flow map ``G(x_t, t, s)`` when x_t follows ``slope``, by forward-mode
    differentiation.  With k and j the factors of x and F in G, ``dG/dt = k (v - v_D) + B``; B, where the network is
    differentiated, is multiplied by ``warmup``, and ``h = -sign(j) scale (k (v - v_D) + warmup B)``.  ``output``
    is the prediction in which F is written.  Exact when G is the flow map and the slope that of the ODE: h = 0.
    Source: sCM, arXiv 2410.11081, eq. 6 and section 4 (s = 0, scale = cos t); MeanFlow, arXiv 2505.13447, eq. 9-11.
    """

    times: Law = field(default_factory=LogNormal)
    endpoint: Endpoint = field(default_factory=Origin)
    states: States = field(default_factory=Diffused)
    slope: Slope = field(default_factory=DataSlope)
    output: Prediction = field(default_factory=Velocity)
    scale: Weight = field(default_factory=One)
    warmup: Scalar = 1.0
    taming: Taming = field(default_factory=Unit)

    SOURCE = "arXiv 2410.11081"
    PITFALLS = (
        "Tangent blows up when the derivative with respect to time is let in too soon or too strongly: lengthen "
        "'warmup', lower the learning rate, use the taming 'unit', and a network whose time embedding is slow."
    )

    def networks(self) -> tuple[str, ...]:
        """Return what states and slope ask for."""
        return asked(self.states, self.slope)

    def __call__(self, turn: Turn) -> Cost:
        """Return the cost of each item."""
        process, t = turn.process, turn.times(self.times)
        s = self.endpoint.draw(t, t, turn.draws.uniform(len(t)), turn.progress)
        noised, student = self.states(turn, t), turn.flow_map()
        masks = int(torch.randint(2**62, ()))
        with torch.no_grad():
            with dropout_from(masks, t.device):
                v = self.slope(turn, noised)
            with dropout_from(masks, t.device):  # the same masks again, however many the slope has used
                rate = along(lambda x, t: student(x, t, s, turn.c), noised.x, t, v)
        with dropout_from(masks, t.device):
            x0 = turn.denoiser()(noised.x, t, turn.c, s)
        keep, sign = self._factors(process, noised.x, t, s)
        first = keep * (v - process.velocity(noised.x, x0.detach(), t))
        change = first + scalar(self.warmup, turn.progress) * (rate - first)
        change = -sign * over(self.scale(process, t, s), change) * change
        return self.taming(self.output.output(process, x0, noised.x, t), change)

    def _factors(self, process: Process, like: X, t: T, s: T) -> tuple[Tensor, Tensor]:
        """Return the factor of x in G(x, t, s) and the sign of that of F, one number per item with trailing axes.

        The sign is that of F in the estimate of the data, since a step never takes the estimate away; so it has a
        value on the diagonal s = t too, where G does not depend on F.
        """
        one = over(torch.ones_like(t), like)
        zero = torch.zeros_like(one)
        keep = process.step(one, self.output.x0(process, zero, one, t), t, s)
        return keep, self.output.x0(process, one, zero, t).sign()


def along(function: Callable[[X, T], X], x: X, t: T, v: X) -> X:
    """Return the total derivative of ``function(x, t)`` when x moves with velocity v as t grows.

    Attention runs in torch's plain form here: the fused ones have no forward-mode derivative.
    """
    with sdpa_kernel(SDPBackend.MATH):
        return cast(Tensor, torch.func.jvp(function, (x, t), (v, torch.ones_like(t)))[1])
