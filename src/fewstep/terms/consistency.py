"""Consistency: two points of one trajectory must be carried to the same place."""

from dataclasses import dataclass, field

import torch

from fewstep.draws import dropout_from
from fewstep.endpoints import Endpoint, Origin
from fewstep.pairs import Pairs
from fewstep.terms.base import Term, asked
from fewstep.terms.bridges import Bridge, DataBridge
from fewstep.terms.guides import Guide, Unguided
from fewstep.terms.metrics import L2, Metric
from fewstep.terms.spaces import Here, Space
from fewstep.terms.states import Diffused, States
from fewstep.terms.targets import Current, Target
from fewstep.terms.weights import One, Weight
from fewstep.turn import Turn
from fewstep.types import Cost

__all__ = ["Consistency"]


@dataclass(frozen=True)
class Consistency(Term):
    """``E w(t, r) d(S[G(x_t, t, s)], S[sg G-(x_r, r, s)])`` with t > r >= s.

    ``pairs`` draws (t, r), ``endpoint`` chooses s, ``states`` makes x_t, ``bridge`` carries it to x_r, ``target``
    says which network is G-, ``space`` (S) and ``metric`` (d) how the ends are compared; ``guide`` draws guidance
    that the bridge follows and G and G- are told of.  Exact when G is the flow map and the bridge follows the ODE:
    cost and gradient are 0.  Needs the boundary G(x, t, t) = x.
    Source: Song et al. 2023, arXiv 2303.01469, eq. 7 and 10.
    """

    pairs: Pairs
    endpoint: Endpoint = field(default_factory=Origin)
    states: States = field(default_factory=Diffused)
    bridge: Bridge = field(default_factory=DataBridge)
    target: Target = field(default_factory=Current)
    space: Space = field(default_factory=Here)
    metric: Metric = field(default_factory=L2)
    weight: Weight = field(default_factory=One)
    guide: Guide = field(default_factory=Unguided)

    SOURCE = "arXiv 2303.01469"
    PITFALLS = (
        "Consistency drifts when the grid is refined faster than the student follows (fewer points, or a longer "
        "training) and when the weight or the metric's c does not fit the size of an item."
    )

    def networks(self) -> tuple[str, ...]:
        """Return what the parts ask for."""
        return asked(self.states, self.bridge, self.target, self.space)

    def __call__(self, turn: Turn) -> Cost:
        """Return the weighted distance of the two ends for each item."""
        items, draws, process = len(turn.batch.x0), turn.draws, turn.process
        t, r = self.pairs.draw(process, draws.uniform(items), turn.progress)
        s = self.endpoint.draw(t, r, draws.uniform(items), turn.progress)
        turn = self.guide(turn)
        noised = self.states(turn, t)
        masks = int(torch.randint(2**62, ()))  # both sides under the same dropout, arXiv 2310.14189, section 3.2
        with torch.no_grad():
            x_r = self.bridge(turn, noised, r)
            with dropout_from(masks, t.device):
                end = self.space(turn, self.target(turn, x_r, r, s), s, noised)
        with dropout_from(masks, t.device):
            start = self.space(turn, turn.flow_map()(noised.x, t, s, turn.c), s, noised)
        return self.weight(process, t, r).to(start.dtype) * self.metric(start, end, turn.progress)
