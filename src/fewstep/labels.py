"""Classes by name or by number."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from fewstep.errors import DataError, RecipeError, nearest

__all__ = ["Label", "below_zero", "label_index", "numbers"]

Label: TypeAlias = int | str
"""A class by its number; or by its name, until the recipe that says so meets the data."""


def numbers(labels: Iterable[Label]) -> tuple[int, ...]:
    """Return the numbers that labels are; raise ``RecipeError`` for a name, which says nothing without the data."""
    given = tuple(labels)
    if named := [each for each in given if isinstance(each, str)]:
        raise RecipeError(
            f"the class {named[0]!r} is given by its name, and nothing here knows the names of the classes; accepted "
            "are numbers, from 0 on. Give its number, or put the name into a recipe, which is resolved by its data."
        )
    return tuple(each for each in given if not isinstance(each, str))


def below_zero(labels: Iterable[Label]) -> bool:
    """Say whether one of the labels is a number that no class has."""
    return any(not isinstance(each, str) and each < 0 for each in labels)


def label_index(text: str, classes: Sequence[str], owner: str) -> int:
    """Return the label that ``text`` means: a class name, or else an index.

    A name wins over an index, so that with the classes 3, 5, 7 the text "5" means label 1.
    Raises ``DataError`` when it is neither, with the accepted range and the nearest names.
    """
    if not classes:
        raise DataError(f"The class {text!r} was asked for, but {owner} has no classes. Leave the class out.")
    if text in classes:
        return list(classes).index(text)
    if text.isdecimal() and int(text) < len(classes):
        return int(text)
    raise DataError(
        f"{text!r} is no class of {owner}. Accepted: a label from 0 to {len(classes) - 1}, or a name; "
        f"{_some_names(text, classes)}"
    )


def _some_names(text: str, classes: Sequence[str], most: int = 20) -> str:
    """List all names when they are few, otherwise the first ones and how many more there are."""
    if len(classes) <= most:
        return nearest(text, classes)
    hint, _, _ = nearest(text, classes).partition("Known:")
    return f"{hint}Known: {', '.join(classes[:most])} and {len(classes) - most} more."
