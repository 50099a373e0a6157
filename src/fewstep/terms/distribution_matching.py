"""Distribution matching: move the student's samples where the teacher thinks they are more likely."""

from dataclasses import dataclass, field

import torch

from fewstep.errors import RecipeError
from fewstep.terms.backtracking import Backtracking, aim, aims
from fewstep.terms.base import Term, asked
from fewstep.terms.divergences import Divergence, ReverseKL
from fewstep.terms.estimators import Detached, Estimator
from fewstep.terms.guides import Guide, Unguided
from fewstep.terms.normalisers import Normaliser, Residual
from fewstep.terms.ratios import DensityRatio
from fewstep.times import Law, LogNormal
from fewstep.turn import Turn
from fewstep.types import Cost

__all__ = ["DistributionMatching"]


@dataclass(frozen=True)
class DistributionMatching(Term):
    """``1/2 mean (x0 - sg[x0 - g])^2`` with ``g = w h(r) (D_fake(x_t, t) - D_real(x_t, t))``, x0 the student's samples.

    ``real`` names the (guided) teacher, or a path of networks to it; ``fake`` is the learner that denoises the
    student's samples; with an unguided teacher under both names, once at ``cfg: 0``, g is the push of guidance, and
    without a ``fake`` the sample itself stands in its place: the pull towards the mean that is ADD's distillation.
    ``times`` draws t, with ``capped`` only below the time of the call that made x0, and never before the stop of that
    call, if it has one: then this state is diffused, not x0.  ``normaliser`` is w, ``divergence`` h of the ``ratio`` r
    that a critic knows, ``estimator`` what becomes of the two answers, ``guide`` draws guidance that nobody is told of.
    Exact when the fake score is the student's: with ``KL`` the gradient is that of the divergence at each t.
    Source: DMD, arXiv 2311.18828, eq. 7; DMD2, arXiv 2405.14867, eq. 2; h: f-distill, arXiv 2502.15681; ``capped``:
    Decoupled DMD, arXiv 2511.22677; the stop: TDM, arXiv 2503.06674; no ``fake``: ADD, arXiv 2311.17042.
    *Ours*: a fake score with a second time is told at which call of a multistep student the sample was made, so that
    every call is matched, not their mixture.
    """

    real: str | Backtracking = "teacher"
    fake: str | None = "fake_score"
    times: Law = field(default_factory=LogNormal)
    capped: bool = False
    normaliser: Normaliser = field(default_factory=Residual)
    divergence: Divergence = field(default_factory=ReverseKL)
    ratio: DensityRatio = field(default_factory=DensityRatio)
    estimator: Estimator = field(default_factory=Detached)
    guide: Guide = field(default_factory=Unguided)

    SOURCE = "arXiv 2405.14867"

    def __post_init__(self) -> None:
        if self.guide.tells:
            raise RecipeError(
                f"distribution matching is given the guide {type(self.guide).__name__}, of which the student is told; "
                "the fake score would have to be told too. Accepted is one that nobody is told of: hidden_scales."
            )

    def networks(self) -> tuple[str, ...]:
        """Return those whose difference is the direction, those that are guided, and the critic if there is one."""
        named = (*aims(self.real), *(() if self.fake is None else (self.fake,)), *asked(self.guide))
        return (*dict.fromkeys(named), *(() if self.divergence.constant else (self.ratio.critic,)))

    def __call__(self, turn: Turn) -> Cost:
        """Return a cost whose gradient counts; its value says nothing about quality."""
        noised = turn.noised("samples", self.times, "distribution_matching", capped=self.capped)
        guided, target = self.guide(turn), aim(self.real, turn.progress)
        with torch.set_grad_enabled(self.estimator.through and torch.is_grad_enabled()):
            real = guided.denoiser(target)(noised.x, noised.t, turn.c)
            fake = noised.x0.detach()
            if self.fake is not None:
                fake = guided.denoiser(self.fake)(noised.x, noised.t, turn.c, turn.made_at("samples"))
        with torch.no_grad():
            w = self.normaliser(turn.process, noised, real) * self.ratio.weights(turn, noised, self.divergence)
        return self.estimator(noised.x0, real, fake, w, turn.progress)
