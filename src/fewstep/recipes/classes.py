"""The classes that a recipe names, by number or by name: does each of them exist, and which number has it?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

from fewstep.errors import DataError, RecipeError
from fewstep.labels import Label, label_index, numbers
from fewstep.recipes.pieces import pieces
from fewstep.recipes.schema import Recipe

__all__ = ["numbered", "refuse_unknown_classes"]


@runtime_checkable
class _NamesClasses(Protocol):
    """A piece that is about some classes."""

    @property
    def named_classes(self) -> tuple[Label, ...]:
        """Return their labels."""

    def with_classes(self, number: Callable[[Label], int]) -> Any:
        """Return the same piece with every class by its number."""


def numbered(recipe: Recipe, classes: Sequence[str]) -> Recipe:
    """Return the recipe with every class by its number that has a name there; ``classes`` are the names in the data.

    Also those of the parts of a ``routed`` network.  Raises ``RecipeError`` for a name that none of them has.
    """
    found: Recipe = _numbered(recipe, partial(_number, classes))
    return found


def refuse_unknown_classes(recipe: Recipe, classes: int) -> None:
    """Raise ``RecipeError`` when a piece names a label that data of so many classes have not."""
    for piece in pieces(recipe):
        named = numbers(piece.named_classes) if isinstance(piece, _NamesClasses) else ()
        for label in (label for label in named if not 0 <= label < classes):
            known = f"{classes} classes, with the labels 0 to {classes - 1}" if classes else "no classes"
            where = "" if isinstance(piece, Recipe) else f" in {type(piece).__name__}"
            raise RecipeError(f"the recipe names the class {label}{where}, but these data have {known}. Name another.")


def _number(classes: Sequence[str], label: Label) -> int:
    if not isinstance(label, str):
        return label
    try:
        return label_index(label, classes, "the data")
    except DataError as error:
        raise RecipeError(f"the recipe names a class that there is not: {error}") from error


def _numbered(piece: Any, number: Callable[[Label], int]) -> Any:
    """Return a piece, with everything inside, in which classes have numbers: the very same where nothing had a name."""
    if isinstance(piece, Mapping):
        return {
            key: _parts(value, number) if key == "routed" else _numbered(value, number) for key, value in piece.items()
        }
    if isinstance(piece, tuple | list):
        return type(piece)(_numbered(part, number) for part in piece)
    if not is_dataclass(piece) or isinstance(piece, type):
        return piece
    inside = {field.name: getattr(piece, field.name) for field in fields(piece) if field.init}
    changed = {name: new for name, old in inside.items() if (new := _numbered(old, number)) != old}
    piece = replace(piece, **changed) if changed else piece
    return piece.with_classes(number) if isinstance(piece, _NamesClasses) else piece


def _parts(routed: Any, number: Callable[[Label], int]) -> Any:
    """Return the settings of a routed network with numbers in the place of the classes of its parts."""
    parts = routed.get("parts") if isinstance(routed, Mapping) else None
    if not isinstance(parts, list) or not all(isinstance(part, list) for part in parts):
        return routed
    return {**routed, "parts": [list(map(number, part)) for part in parts]}
