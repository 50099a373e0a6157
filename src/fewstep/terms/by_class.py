"""Items of some classes count more, or less, than the others."""

from dataclasses import dataclass

import torch

from fewstep.errors import RecipeError
from fewstep.terms.base import Term
from fewstep.turn import Turn
from fewstep.types import Cost

__all__ = ["ByClass"]


@dataclass(frozen=True)
class ByClass(Term):
    """The cost of ``term``, times ``factor`` for the items whose label is in ``classes``.

    Exact when the factor is 1: it is that term.  Source: Score Forgetting Distillation, arXiv 2409.11219 (its code).
    Raises ``RecipeError`` for labels and factors below 0, and for conditions that are no labels.
    """

    classes: tuple[int, ...]
    factor: float
    term: Term

    SOURCE = "arXiv 2409.11219"

    def __post_init__(self) -> None:
        if min((*self.classes, 0)) < 0 or self.factor < 0:
            raise RecipeError(
                f"the classes {list(self.classes)} are to count {self.factor} times; accepted are labels and factors "
                "from 0 on."
            )

    @property
    def named_classes(self) -> tuple[int, ...]:
        """The labels that there must be."""
        return self.classes

    def networks(self) -> tuple[str, ...]:
        """Return what the term asks for."""
        return self.term.networks()

    def __call__(self, turn: Turn) -> Cost:
        """Return the weighted cost of each item."""
        cost, c = self.term(turn), turn.c
        if c is None or c.is_floating_point():
            raise RecipeError("some classes are to count more than others, but these data have none; name the term.")
        named = torch.isin(c, torch.tensor(self.classes, dtype=c.dtype, device=c.device))
        return torch.where(named, self.factor * cost, cost)
