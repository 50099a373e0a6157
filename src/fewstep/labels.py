"""Classes by name or by number."""

from collections.abc import Sequence

from fewstep.errors import DataError, nearest

__all__ = ["label_index"]


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
