"""Items of some classes count more, or less, than the others."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from fewstep.errors import RecipeError
from fewstep.labels import Label, below_zero, numbers
from fewstep.terms.base import Term
from fewstep.turn import Turn
from fewstep.types import Cost

__all__ = ["ByClass"]


@dataclass(frozen=True)
class ByClass(Term):
    """The cost of ``term``, times ``factor`` for the items whose label is in ``classes``.

    In a recipe classes may have their names; those are resolved by its data.
    Exact when the factor is 1: it is that term.  Source: Score Forgetting Distillation, arXiv 2409.11219 (its code).
    Raises ``RecipeError`` for labels and factors below 0, and for conditions that are no labels.
    """

    classes: tuple[Label, ...]
    factor: float
    term: Term

    SOURCE = "arXiv 2409.11219"

    def __post_init__(self) -> None:
        if below_zero(self.classes) or self.factor < 0:
            raise RecipeError(
                f"the classes {list(self.classes)} are to count {self.factor} times; accepted are labels and factors "
                "from 0 on."
            )

    @property
    def named_classes(self) -> tuple[Label, ...]:
        """The labels that there must be."""
        return self.classes

    def with_classes(self, number: Callable[[Label], int]) -> "ByClass":
        """Return the same term with every class by its number."""
        return replace(self, classes=tuple(map(number, self.classes)))

    def networks(self) -> tuple[str, ...]:
        """Return what the term asks for."""
        return self.term.networks()

    def __call__(self, turn: Turn) -> Cost:
        """Return the weighted cost of each item."""
        cost, c = self.term(turn), turn.c
        if c is None or c.is_floating_point():
            raise RecipeError("some classes are to count more than others, but these data have none; name the term.")
        named = torch.isin(c, torch.tensor(numbers(self.classes), dtype=c.dtype, device=c.device))
        return torch.where(named, self.factor * cost, cost)
