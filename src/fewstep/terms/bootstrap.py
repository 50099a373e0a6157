"""Bootstrapping: the student walks its own path from pure noise, and the teacher tells it the next step."""

from dataclasses import dataclass, field

import torch

from fewstep.pairs import Pairs
from fewstep.solvers import DDIM, Solver
from fewstep.terms.base import Term, asked
from fewstep.terms.metrics import L2, Metric
from fewstep.terms.spaces import Here, Space
from fewstep.terms.weights import One, Weight
from fewstep.turn import Noised, Turn
from fewstep.types import Cost

__all__ = ["Bootstrap"]


@dataclass(frozen=True)
class Bootstrap(Term):
    """``E w(t, s) d(G(x_T, T, s), sg B(G(x_T, T, t); t -> s))`` with x_T pure noise and T > t > s: no data.

    The mirror image of consistency: the start is fixed and the end moves; ``pairs`` draws (t, s), B is a step of
    the (guided) teacher.  With s a step below t the signal is integrated from T down (BOOT); with s = 0 the cost ties
    the one call to two steps (SlimFlow).  Exact when G is the teacher's path: cost 0.  G needs the second time
    unless s = 0.  Source: BOOT, arXiv 2306.05544, eq. 9; SlimFlow, arXiv 2407.12718, eq. 9.
    """

    start: float
    pairs: Pairs
    teacher: str = "teacher"
    solver: Solver = field(default_factory=DDIM)
    space: Space = field(default_factory=Here)
    metric: Metric = field(default_factory=L2)
    weight: Weight = field(default_factory=One)

    SOURCE = "arXiv 2306.05544"
    PITFALLS = (
        "Bootstrap passes errors on from the noisy end to the clean one: learn longer before judging it, take fewer "
        "and larger steps (points), or a second-order solver."
    )

    def networks(self) -> tuple[str, ...]:
        """Return the teacher, and what the space asks for."""
        return (self.teacher, *asked(self.space))

    def __call__(self, turn: Turn) -> Cost:
        """Return the weighted distance of the student's step to the teacher's for each item."""
        process, student, like = turn.process, turn.flow_map(), turn.batch.x0
        t, s = self.pairs.draw(process, turn.draws.uniform(len(like)), turn.progress)
        top = torch.full_like(t, self.start)
        z = turn.draws.normal(like)
        x = process.prior(z, top)
        noised = Noised(torch.zeros_like(like), top, z, x)
        with torch.no_grad():
            there = student(x, top, t, turn.c)
            wanted = self.solver(turn.denoiser(self.teacher), there, torch.stack([t, s]), turn.c, turn.draws)
            wanted = self.space(turn, wanted, s, noised)
        found = self.space(turn, student(x, top, s, turn.c), s, noised)
        return self.weight(process, t, s).to(found.dtype) * self.metric(found, wanted, turn.progress)
