"""Imitation: one network learns to answer as another does."""

from dataclasses import dataclass, field

import torch

from fewstep.condition import drop
from fewstep.terms.base import Term
from fewstep.terms.metrics import L2, Metric
from fewstep.terms.weights import EDMWeight, Weight
from fewstep.times import Law, LogNormal
from fewstep.turn import On, Turn
from fewstep.types import Cost

__all__ = ["Imitate"]


@dataclass(frozen=True)
class Imitate(Term):
    """``E w(t) d(D(x_t, t, c), D_teacher(x_t, t, c))``, on noised data or on the student's noised samples.

    What a larger network knows goes over to a smaller one, or what guidance makes of two calls into one: ``teacher``
    may be guided.  ``drop`` is the share of items whose condition is replaced by the empty one, for both.
    Exact when the networks agree: the cost is then 0.
    Source: teacher score matching of MSD, arXiv 2410.23274; guidance: arXiv 2210.03142, stage one.
    """

    teacher: str = "teacher"
    on: On = "data"
    times: Law = field(default_factory=LogNormal)
    weight: Weight = field(default_factory=EDMWeight)
    metric: Metric = field(default_factory=L2)
    drop: float = 0.0

    SOURCE = "arXiv 2410.23274"

    def networks(self) -> tuple[str, ...]:
        """Return the teacher, and the student when its samples are noised."""
        return (self.teacher, *(("student",) if self.on == "samples" else ()))

    def __call__(self, turn: Turn) -> Cost:
        """Return the weighted distance of each estimate to the teacher's."""
        noised, c = turn.noised(self.on, self.times, "denoise"), turn.c
        if self.drop > 0:
            c = drop(c, turn.draws.uniform(len(noised.t)) < self.drop)
        with torch.no_grad():
            wanted = turn.denoiser(self.teacher)(noised.x, noised.t, c)
        weight = self.weight(turn.process, noised.t, noised.t)
        return weight.to(wanted.dtype) * self.metric(turn.denoiser()(noised.x, noised.t, c), wanted, turn.progress)
