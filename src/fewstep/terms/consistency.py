"""Consistency: two points of one trajectory must be carried to the same place."""

from dataclasses import dataclass, field

import torch

from fewstep.draws import dropout_from
from fewstep.pairs import Endpoint, Origin, Pairs
from fewstep.terms.base import Term
from fewstep.terms.bridges import Bridge, DataBridge
from fewstep.terms.metrics import L2, Metric
from fewstep.terms.weights import One, Weight
from fewstep.turn import Noised, Turn
from fewstep.types import Cost

__all__ = ["Consistency"]


@dataclass(frozen=True)
class Consistency(Term):
    """``E w(t, r) d(G(x_t, t, s), sg G-(x_r, r, s))`` with t > r >= s.

    ``pairs`` draws (t, r), ``endpoint`` chooses s, ``bridge`` carries x_t to x_r, ``target`` names the average of
    the learner that answers on the right ("" = the current weights).  Exact when G is the flow map and the bridge
    follows the ODE: cost and gradient are 0.  Needs the boundary G(x, t, t) = x.
    Source: Song et al. 2023, arXiv 2303.01469, eq. 7 and 10.
    """

    pairs: Pairs
    endpoint: Endpoint = field(default_factory=Origin)
    bridge: Bridge = field(default_factory=DataBridge)
    target: str = ""
    metric: Metric = field(default_factory=L2)
    weight: Weight = field(default_factory=One)

    SOURCE = "arXiv 2303.01469"

    def networks(self) -> tuple[str, ...]:
        """Return what the bridge asks for."""
        return self.bridge.networks()

    def __call__(self, turn: Turn) -> Cost:
        """Return the weighted distance of the two ends for each item."""
        items = len(turn.batch.x0)
        t, r = self.pairs.draw(turn.process, turn.draws.uniform(items), turn.progress)
        s = self.endpoint.draw(t, r, turn.draws.uniform(items))
        z = turn.draws.normal(turn.batch.x0)
        noised = Noised(turn.batch.x0, t, z, turn.process.noise(turn.batch.x0, z, t))
        masks = int(torch.randint(2**62, ()))  # both sides under the same dropout, arXiv 2310.14189, section 3.2
        with torch.no_grad():
            x_r = self.bridge(turn, noised, r)
            with dropout_from(masks, z.device):
                end = turn.flow_map(f"{turn.me}.{self.target}" if self.target else "")(x_r, r, s, turn.c)
        with dropout_from(masks, z.device):
            start = turn.flow_map()(noised.x, t, s, turn.c)
        return self.weight(turn.process, t, r).to(z.dtype) * self.metric(start, end)
