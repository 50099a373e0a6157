"""The student's side of a game against a critic, and the critic's."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from torch.nn.functional import softplus

from fewstep.process import over
from fewstep.terms.base import Term
from fewstep.terms.divergences import Divergence, JensenShannon
from fewstep.times import Law, LogNormal
from fewstep.turn import Turn
from fewstep.types import Cost

__all__ = ["Adversarial", "ApproximateR1", "Discriminate", "GanLoss", "Hinge", "LeastSquares", "Logistic", "Softplus"]


class GanLoss(ABC):
    """What the two players minimise, as functions of logits."""

    @abstractmethod
    def generator(self, fake: Cost) -> Cost:
        """Return the generator's cost."""

    @abstractmethod
    def critic(self, real: Cost, fake: Cost) -> Cost:
        """Return the critic's cost."""


@dataclass(frozen=True)
class Softplus(GanLoss):
    """Non-saturating: ``log(1 + e^-l)``; with the optimal logit the softened reverse KL.  Source: arXiv 1406.2661."""

    def generator(self, fake: Cost) -> Cost:
        """Return ``softplus(-fake)``."""
        return softplus(-fake)

    def critic(self, real: Cost, fake: Cost) -> Cost:
        """Return ``softplus(fake) + softplus(-real)``."""
        return softplus(fake) + softplus(-real)


@dataclass(frozen=True)
class Logistic(GanLoss):
    """The critic of ``Softplus``, and the generator's cost under which a divergence falls: ``f - r f'`` at ``r = e^l``.

    With the optimal logit its gradient is that of the divergence: the ``SoftenedReverseKL`` is the non-saturating cost
    and ``Softplus`` itself, ``JensenShannon`` the saturating one, ``-softplus(l)``.
    Source: arXiv 1406.2661, eq. 1 (Jensen-Shannon); others: f-distill, arXiv 2502.15681, through the logit.
    """

    divergence: Divergence = field(default_factory=JensenShannon)

    def generator(self, fake: Cost) -> Cost:
        """Return the divergence's cost of the logit."""
        return self.divergence.cost(fake)

    def critic(self, real: Cost, fake: Cost) -> Cost:
        """Return ``softplus(fake) + softplus(-real)``."""
        return softplus(fake) + softplus(-real)


@dataclass(frozen=True)
class Hinge(GanLoss):
    """``-l`` against ``max(0, 1 + fake) + max(0, 1 - real)``.  Source: arXiv 1705.02894."""

    def generator(self, fake: Cost) -> Cost:
        """Return ``-fake``."""
        return -fake

    def critic(self, real: Cost, fake: Cost) -> Cost:
        """Return the two hinges."""
        return (1 + fake).clamp_min(0) + (1 - real).clamp_min(0)


@dataclass(frozen=True)
class LeastSquares(GanLoss):
    """``(1 - fake)^2`` against ``(1 - real)^2 + fake^2``.  Source: LSGAN, arXiv 1611.04076, eq. 9."""

    def generator(self, fake: Cost) -> Cost:
        """Return the squared distance to 1."""
        return (1 - fake).square()

    def critic(self, real: Cost, fake: Cost) -> Cost:
        """Return the squared distances to 1 and to 0."""
        return (1 - real).square() + fake.square()


@dataclass(frozen=True)
class Adversarial(Term):
    """The student's cost: its samples, diffused to times of a law, must look real to the critic of that name.

    A critic with constant logits gives no gradient.  Source: DMD2, arXiv 2405.14867, eq. 3 (generator's side).
    """

    critic: str = "fake_score"
    times: Law = field(default_factory=LogNormal)
    loss: GanLoss = field(default_factory=Softplus)

    SOURCE = "arXiv 2405.14867"
    PITFALLS = (
        "Adversarial pulls a student apart when it weighs too much or begins too soon: less weight, a later start."
    )

    def networks(self) -> tuple[str, ...]:
        """Return the critic."""
        return (self.critic,)

    def __call__(self, turn: Turn) -> Cost:
        """Return the generator's cost of each sample."""
        noised = turn.noised("samples", self.times, "adversarial")
        return self.loss.generator(turn.critic(self.critic)(noised.x, noised.t, turn.c))


@dataclass(frozen=True)
class Discriminate(Term):
    """The critic's cost: tell the diffused data from the diffused samples.

    With the optimal logit ``log p_t / q_t`` of data over samples.  Source: DMD2, arXiv 2405.14867, eq. 3.
    """

    times: Law = field(default_factory=LogNormal)
    loss: GanLoss = field(default_factory=Softplus)

    SOURCE = "arXiv 2405.14867"

    def networks(self) -> tuple[str, ...]:
        """Return the student, whose samples are judged."""
        return ("student",)

    def __call__(self, turn: Turn) -> Cost:
        """Return the critic's cost of each pair of a real and a generated item."""
        critic = turn.critic()
        fake = turn.noised("samples", self.times, "adversarial")
        real = turn.noised("data", self.times, "adversarial")
        logit_fake, logit_real = critic(fake.x, fake.t, turn.c), critic(real.x, real.t, turn.c)
        turn.note("critic accuracy", ((logit_real > 0).double().mean() + (logit_fake < 0).double().mean()) / 2)
        on_fake, on_real = logit_fake.detach(), logit_real.detach()
        turn.note("critic logit", (on_real.abs().mean() + on_fake.abs().mean()) / 2)
        if isinstance(self.loss, Softplus | Logistic):  # whose logits are logarithms of a density ratio
            turn.note("critic ratio", on_fake.double().clamp_max(50).exp().mean())  # 1 when it is calibrated
            gap = 2 * math.log(2) - (softplus(on_fake) + softplus(-on_real)).mean()
            turn.note("critic gap", gap)  # twice the Jensen-Shannon divergence that it sees; 0 when it must guess
        return self.loss.critic(logit_real, logit_fake)


@dataclass(frozen=True)
class ApproximateR1(Term):
    """The critic's second cost: ``(l(x_t) - l(x_t + alpha n z'))^2``, data whose clean items got fresh noise beside.

    With ``n -> 0`` it is ``(alpha n)^2 ||grad l||^2`` on average, which is R1 without a second derivative.
    Source: Seaweed-APT, arXiv 2501.08316 (there on clean data).
    """

    times: Law = field(default_factory=LogNormal)
    noise: float = 0.1

    SOURCE = "arXiv 2501.08316"

    def __call__(self, turn: Turn) -> Cost:
        """Return the squared change of each real item's logit."""
        critic, real = turn.critic(), turn.noised("data", self.times, "adversarial")
        beside = over(turn.process.alpha(real.t) * self.noise, real.x) * turn.draws.normal(real.x)
        return (critic(real.x, real.t, turn.c) - critic(real.x + beside, real.t, turn.c)).square()
