"""The student's side of a game against a critic, and the critic's."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from fewstep.process import over
from fewstep.terms.base import Term
from fewstep.terms.gan_losses import GanLoss, Softplus
from fewstep.times import Law, LogNormal
from fewstep.turn import On, Turn
from fewstep.types import Cost, Logits

__all__ = ["Adversarial", "ApproximateR1", "Discriminate"]


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
        """Return the generator's cost of each sample, the mean over the heads and their places."""
        noised = turn.noised("samples", self.times, "adversarial")
        heads = self.loss.meant(turn.judged(self.critic, noised))
        return _mean([self.loss.generator(fake) for fake in heads])


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
        """Return the critic's cost of each pair of a real and a generated item, the mean over heads and places."""
        fake, real = (self._heads(turn, on) for on in ("samples", "data"))
        cost = _mean([self.loss.critic(*pair) for pair in zip(real, fake, strict=True)])
        self._tell(turn, real, fake, cost)
        return cost

    def _heads(self, turn: Turn, on: On) -> list[Logits]:
        return self.loss.meant(turn.judged("", turn.noised(on, self.times, "adversarial")))

    @torch.no_grad()
    def _tell(self, turn: Turn, heads: Sequence[Logits], others: Sequence[Logits], cost: Cost) -> None:
        """Note how good the critic is at its game, by what its heads say of data and samples and by its cost."""
        real, fake = (_mean([self.loss.verdict(each) for each in said]).double() for said in (heads, others))
        critic = "class critic" if self.loss.classes else "critic"
        turn.note(f"{critic} accuracy", ((real > 0).double().mean() + (fake < 0).double().mean()) / 2)
        turn.note(f"{critic} logit", (real.abs().mean() + fake.abs().mean()) / 2)
        if self.loss.ratios:
            turn.note(f"{critic} ratio", fake.clamp_max(50).exp().mean())  # 1 when it is calibrated
        if self.loss.guess is not None:
            # for softplus twice the Jensen-Shannon divergence that it sees; 0 when it must guess
            turn.note(f"{critic} gap", self.loss.guess - cost.double().mean())


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
        """Return the squared change of each real item's logits, the mean over heads and places."""
        real = turn.noised("data", self.times, "adversarial")
        beside = over(turn.process.alpha(real.t) * self.noise, real.x) * turn.draws.normal(real.x)
        moved = turn.critic().heads(real.x + beside, real.t, turn.c)
        return _mean([(a - b).square() for a, b in zip(turn.judged("", real), moved, strict=True) if a.ndim == 2])


def _mean(heads: Sequence[Logits]) -> Cost:
    """Return the mean over the heads of the means over their places."""
    return torch.stack([each.mean(1) for each in heads]).mean(0)
