"""A reward for samples that differ although they were asked for the same."""

from dataclasses import dataclass, field

import torch
from torch.nn.functional import cosine_similarity

from fewstep.terms.base import Term, asked
from fewstep.terms.spaces import Features, Space
from fewstep.turn import Turn
from fewstep.types import Cost

__all__ = ["Diversity"]


@dataclass(frozen=True)
class Diversity(Term):
    """``E cos(S[y1], S[y2])`` for two samples y1 and y2 of the student under one condition: 1 less the reward.

    ``space`` (S) embeds the samples, which carry their graphs.  0 for orthogonal embeddings, 1 for a collapsed student.
    Source: diversity-rewarded CFG distillation, arXiv 2410.06084 (there for tokens, by policy gradient).
    *Ours*: the gradient through both samples, which images have and tokens have not.
    """

    space: Space = field(default_factory=Features)

    SOURCE = "arXiv 2410.06084"
    PITFALLS = "Diversity pays for varied rubbish too: less weight, beside a cost that asks for quality."

    def networks(self) -> tuple[str, ...]:
        """Return what the space asks for."""
        return asked(self.space)

    def __call__(self, turn: Turn) -> Cost:
        """Return the cosine of each sample and another one of its condition."""
        first = turn.samples.x0
        second = turn.rollout(turn.flow_map("student"), turn.batch.x0, turn.c, turn.draws).x0
        end = torch.zeros(len(first), dtype=torch.float64, device=first.device)
        one, two = (self.space(turn, y, end).flatten(1) for y in (first, second))
        return cosine_similarity(one, two)
