"""Regression on known ends: stored pairs of a teacher, or the data themselves."""

from dataclasses import dataclass, field

import torch

from fewstep.errors import RecipeError
from fewstep.terms.base import Term, asked
from fewstep.terms.metrics import L2, Metric
from fewstep.terms.spaces import Here, Space
from fewstep.turn import Turn
from fewstep.types import Cost

__all__ = ["Reconstruct", "Regress"]


@dataclass(frozen=True)
class Regress(Term):
    """``E d(G(x_t, t, 0, c), x0)`` on stored pairs of noise z and the teacher's end x0, at the x_t that z is.

    ``start`` is the time at which samplers start from z; ``space`` compares features instead of values.  Exact
    when G is the teacher's discrete map: cost 0.  Source: Luhman and Luhman 2021, arXiv 2101.02388, eq. 5.
    """

    start: float
    metric: Metric = field(default_factory=L2)
    space: Space = field(default_factory=Here)

    SOURCE = "arXiv 2101.02388"
    PITFALLS = "Regress learns its pairs by heart when there are few: make more of them, or train for fewer steps."

    def networks(self) -> tuple[str, ...]:
        """Return what the space asks for."""
        return asked(self.space)

    def __call__(self, turn: Turn) -> Cost:
        """Return the distance of each one-call sample to the stored end."""
        z = turn.batch.z
        if z is None:
            raise RecipeError("regress needs stored pairs (noise, teacher's sample), but this batch holds data only.")
        t = torch.full((len(z),), self.start, dtype=torch.float64, device=z.device)
        end = torch.zeros_like(t)
        found = turn.flow_map()(turn.process.prior(z, t), t, end, turn.c)
        with torch.no_grad():
            wanted = self.space(turn, turn.batch.x0, end)
        return self.metric(self.space(turn, found, end), wanted, turn.progress)


@dataclass(frozen=True)
class Reconstruct(Term):
    """``E d(S[sample], S[x0])``: the student's sample for a condition against the item that has this condition.

    Makes sense where the condition nearly fixes the item, up to what the space S does not hear.
    Source: PeriodWave-Turbo, arXiv 2408.08019, section 3.2.
    """

    metric: Metric = field(default_factory=L2)
    space: Space = field(default_factory=Here)

    SOURCE = "arXiv 2408.08019"

    def networks(self) -> tuple[str, ...]:
        """Return what the space asks for."""
        return asked(self.space)

    def __call__(self, turn: Turn) -> Cost:
        """Return the distance of each sample to its item."""
        end = torch.zeros(len(turn.batch.x0), dtype=torch.float64, device=turn.batch.x0.device)
        with torch.no_grad():
            wanted = self.space(turn, turn.batch.x0, end)
        return self.metric(self.space(turn, turn.samples.x0, end), wanted, turn.progress)
