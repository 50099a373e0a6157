"""Another condition in the place of some, for one denoiser alone."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from fewstep.denoiser import Denoises
from fewstep.errors import RecipeError
from fewstep.guidance.base import Guidance
from fewstep.labels import Label, below_zero, numbers
from fewstep.types import Cond, T, X

__all__ = ["Override"]


@dataclass(frozen=True)
class Override(Guidance):
    """``D(x, t, o(c))`` with ``o(c) = to`` for the labels in ``forgotten``, and c for all others.

    As the innermost rule of a teacher, and of nobody else, it is how a student forgets: asked for a forgotten class it
    learns to give the other one.  Without ``forgotten``, and where these are ``to`` already, it is the identity.  In a
    recipe classes may have their names; those are resolved by its data.
    Source: Score Forgetting Distillation, arXiv 2409.11219 (its code).
    Raises ``RecipeError`` for labels below 0, and for conditions that are no labels.
    """

    forgotten: tuple[Label, ...]
    to: Label

    SOURCE = "arXiv 2409.11219"

    def __post_init__(self) -> None:
        if below_zero(self.named_classes):
            raise RecipeError(
                f"the classes {list(self.forgotten)} are to be overridden by {self.to}; accepted are labels from 0 on."
            )

    @property
    def named_classes(self) -> tuple[Label, ...]:
        """The labels that there must be."""
        return (*self.forgotten, self.to)

    def with_classes(self, number: Callable[[Label], int]) -> "Override":
        """Return the same rule with every class by its number."""
        return replace(self, forgotten=tuple(map(number, self.forgotten)), to=number(self.to))

    def apply(self, guided: Denoises, plain: Denoises, x: X, t: T, c: Cond) -> X:
        """Return the estimate under the other condition."""
        if c is None or c.is_floating_point():
            raise RecipeError(
                "classes are to be overridden, but these data have none: their conditions are "
                f"{'absent' if c is None else f'vectors of {list(c.shape[1:])}'}. Leave 'override' out."
            )
        *forgotten, to = numbers(self.named_classes)
        overridden = torch.isin(c, torch.tensor(forgotten, dtype=c.dtype, device=c.device))
        return guided(x, t, torch.where(overridden, to, c))
