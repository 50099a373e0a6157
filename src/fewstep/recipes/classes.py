"""Does every class exist that a recipe names by its label?"""

from typing import Protocol, runtime_checkable

from fewstep.errors import RecipeError
from fewstep.recipes.pieces import pieces
from fewstep.recipes.schema import Recipe

__all__ = ["refuse_unknown_classes"]


@runtime_checkable
class _NamesClasses(Protocol):
    """A piece that is about some classes."""

    @property
    def named_classes(self) -> tuple[int, ...]:
        """Return their labels."""


def refuse_unknown_classes(recipe: Recipe, classes: int) -> None:
    """Raise ``RecipeError`` when a piece names a label that data of so many classes have not."""
    for piece in pieces(recipe):
        named = piece.named_classes if isinstance(piece, _NamesClasses) else ()
        for label in (label for label in named if not 0 <= label < classes):
            known = f"{classes} classes, with the labels 0 to {classes - 1}" if classes else "no classes"
            where = "" if isinstance(piece, Recipe) else f" in {type(piece).__name__}"
            raise RecipeError(f"the recipe names the class {label}{where}, but these data have {known}. Name another.")
