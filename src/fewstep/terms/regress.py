"""Regression of a flow map on known ends."""

from dataclasses import dataclass, field

import torch

from fewstep.errors import RecipeError
from fewstep.terms.base import Term
from fewstep.terms.metrics import L2, Metric
from fewstep.turn import Turn
from fewstep.types import Cost

__all__ = ["Regress"]


@dataclass(frozen=True)
class Regress(Term):
    """``E d(G(x_t, t, 0, c), x0)`` on stored pairs of noise z and the teacher's end x0, at ``x_t = sigma_t z``.

    ``start`` is the time at which the stored noise stands.  Exact when G is the teacher's discrete map: cost 0.
    Source: Luhman and Luhman 2021, arXiv 2101.02388, eq. 5.
    """

    start: float
    metric: Metric = field(default_factory=L2)

    SOURCE = "arXiv 2101.02388"

    def __call__(self, turn: Turn) -> Cost:
        """Return the distance of each one-call sample to the stored end."""
        z = turn.batch.z
        if z is None:
            raise RecipeError("regress needs stored pairs (noise, teacher's sample), but this batch holds data only.")
        t = torch.full((len(z),), self.start, dtype=torch.float64, device=z.device)
        x = turn.process.noise(torch.zeros_like(z), z, t)
        return self.metric(turn.flow_map()(x, t, torch.zeros_like(t), turn.c), turn.batch.x0)
