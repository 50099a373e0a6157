"""Denoising: the loss of every teacher and every fake score."""

from dataclasses import dataclass, field

import torch

from fewstep.condition import drop
from fewstep.couplings import Coupling, Independent
from fewstep.errors import RecipeError
from fewstep.process import Process, over
from fewstep.terms.base import Term
from fewstep.terms.metrics import L2, Metric
from fewstep.terms.weights import EDMWeight, Weight
from fewstep.times import Law, LogNormal
from fewstep.turn import Noised, On, Turn
from fewstep.types import Cost, T, X

__all__ = ["Denoise"]


@dataclass(frozen=True)
class Denoise(Term):
    """``E w(t) d(D(x_t, t, c), x0)``, on the data or on the student's samples.

    ``drop`` is the share of items whose condition is replaced by the empty one, so that guidance has an
    unconditional branch.  ``coupling`` says which noise belongs to which item: with stored pairs it is reflow.
    ``capped``: samples are diffused to times below that of the call that made them only.
    Samples whose call stopped before the data are diffused from that state, and it is the law of these states that is
    learned: D for which ``(alpha D - x) / sigma^2`` is the score of x_t.  Only the fresh noise, a share r of the
    deviation of all noise, tells of it: x0 is what x_t would leave if all its noise were z / r, and counts r^2 times.
    With ``importance`` it is the estimate x0 instead, as in TDM's code: each as often as the noise it leaves is likely,
    beside the drawn (means over dimensions temper this ratio).
    Exact when the network is the posterior mean: no other network costs less under L2.
    Source: Karras et al. 2022, arXiv 2206.00364, eq. 2 and table 1; ``importance``: TDM, arXiv 2503.06674 (its code).
    Raises ``RecipeError`` when the data, which no call has made, are to be capped or weighted by importance.
    """

    on: On = "data"
    times: Law = field(default_factory=LogNormal)
    weight: Weight = field(default_factory=EDMWeight)
    metric: Metric = field(default_factory=L2)
    drop: float = 0.0
    coupling: Coupling = field(default_factory=Independent)
    capped: bool = False
    importance: bool = False

    SOURCE = "arXiv 2206.00364"

    def __post_init__(self) -> None:
        if self.on == "data" and (self.capped or self.importance):
            raise RecipeError(
                "denoising of the data is asked to be 'capped' or weighted by 'importance', but no call of the student "
                "has made them; accepted is either with 'on: samples'. Leave both out, or denoise the samples."
            )

    def networks(self) -> tuple[str, ...]:
        """Return the student when its samples are denoised."""
        return ("student",) if self.on == "samples" else ()

    def __call__(self, turn: Turn) -> Cost:
        """Return the weighted distance of each estimate to its clean item."""
        noised = turn.noised(self.on, self.times, "denoise", self.coupling, self.capped)
        c = turn.c
        if self.drop > 0:
            c = drop(c, turn.draws.uniform(len(noised.t)) < self.drop)
        estimate = turn.denoiser()(noised.x, noised.t, c, turn.made_at(self.on))
        aim, counts = self._aim(turn.process, noised)
        weight = self.weight(turn.process, noised.t, noised.t) * counts
        return weight.to(estimate.dtype) * self.metric(estimate, aim, turn.progress)

    def _aim(self, process: Process, noised: Noised) -> tuple[X, T]:
        """Return what is to be estimated of each item, and how much the item counts."""
        if noised.fresh is None:
            return noised.x0, torch.ones_like(noised.t)
        z, share = noised.fresh.z, noised.fresh.share
        if self.importance:
            gap = (z.square() - noised.z.square()).flatten(1).mean(1)
            return noised.x0, (gap / 2).exp().double()
        alone = z / over(share.clamp_min(1e-6), z)
        return (noised.x - over(process.sigma(noised.t), z) * alone) / over(process.alpha(noised.t), z), share**2
