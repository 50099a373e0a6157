"""Distribution matching: move the student's samples where the teacher thinks they are more likely."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch

from fewstep.process import Process, over
from fewstep.terms.base import Term
from fewstep.times import Law, LogNormal
from fewstep.turn import Noised, Turn
from fewstep.types import Cost, T, X

__all__ = ["KL", "DistributionMatching", "Normaliser", "Plain", "Residual"]


class Normaliser(ABC):
    """The factor of the difference of the two denoisers."""

    @abstractmethod
    def __call__(self, process: Process, noised: Noised, real: X) -> T:
        """Return one factor per item."""


@dataclass(frozen=True)
class Residual(Normaliser):
    """``1 / mean |x0 - D_real|`` per item: the direction has the same size everywhere.

    Source: DMD, arXiv 2311.18828, eq. 8; without its factor alpha, as in DMD2.
    """

    def __call__(self, process: Process, noised: Noised, real: X) -> T:
        """Return the inverse mean distance of the sample to the teacher's estimate."""
        return 1 / (noised.x0 - real).abs().flatten(1).mean(1).double().clamp_min(1e-8)


@dataclass(frozen=True)
class Plain(Normaliser):
    """1, as in Diff-Instruct.  Source: arXiv 2305.18455."""

    def __call__(self, process: Process, noised: Noised, real: X) -> T:
        """Return 1."""
        return torch.ones_like(noised.t)


@dataclass(frozen=True)
class KL(Normaliser):
    """``alpha^2 / sigma^2``: the exact gradient of KL(student || teacher) at each noise level."""

    def __call__(self, process: Process, noised: Noised, real: X) -> T:
        """Return the signal-to-noise ratio."""
        return process.logsnr(noised.t).exp()


@dataclass(frozen=True)
class DistributionMatching(Term):
    """``1/2 mean (x0 - sg[x0 - g])^2`` with ``g = w (D_fake(x_t, t) - D_real(x_t, t))``, x0 the student's samples.

    ``real`` names the (guided) teacher, ``fake`` the learner that denoises the student's samples.  The gradient
    with respect to x0 is g / dimensions; the value is mean g^2 / 2 and says nothing about quality.  Exact when the
    fake score is the student's: with ``KL`` the gradient is that of the reverse KL divergence at each t.
    Source: DMD, arXiv 2311.18828, eq. 7; DMD2, arXiv 2405.14867, eq. 2.  *Ours*: a fake score with a second time is
    told at which call of a multistep student the sample was made, so that every call is matched, not their mixture.
    """

    real: str = "teacher"
    fake: str = "fake_score"
    times: Law = field(default_factory=LogNormal)
    normaliser: Normaliser = field(default_factory=Residual)

    SOURCE = "arXiv 2405.14867"

    def networks(self) -> tuple[str, ...]:
        """Return the two networks whose difference is the direction."""
        return (self.real, self.fake)

    def __call__(self, turn: Turn) -> Cost:
        """Return half the mean square of the direction, with the direction as its gradient."""
        noised = turn.noised("samples", self.times, "distribution_matching")
        with torch.no_grad():
            real = turn.denoiser(self.real)(noised.x, noised.t, turn.c)
            fake = turn.denoiser(self.fake)(noised.x, noised.t, turn.c, turn.made_at("samples"))
            g = over(self.normaliser(turn.process, noised, real), real) * (fake - real)
            target = noised.x0 - g
        return (noised.x0 - target).square().flatten(1).mean(1) / 2
