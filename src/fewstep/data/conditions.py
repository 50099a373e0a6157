"""From class names and captions to labels."""

from collections.abc import Sequence
from dataclasses import dataclass

from fewstep.data.scan import Listing

__all__ = ["Conditions", "conditions_of"]

MOST_CAPTIONS = 1000  # as many classes as ImageNet: what one embedding table is known to serve
FEWEST_REPEATS = 2  # a caption that occurs once names an image, not a class


@dataclass(frozen=True)
class Conditions:
    """Per item a label, or no labels at all; the class names; per item a caption, or none; and why so, in words."""

    labels: tuple[int, ...]
    classes: tuple[str, ...]
    captions: tuple[str, ...]
    why: str


def conditions_of(listing: Listing) -> Conditions:
    """Make classes of class names, else of repeated captions, else none.

    Captions count as repeated when there are at most 1,000 distinct ones and each occurs twice or more on average.
    """
    names = [entry.label for entry in listing.entries if entry.label is not None]
    captions = tuple(entry.caption for entry in listing.entries if entry.caption is not None)
    if names:
        return _classes(names, captions, f"from {listing.source}")
    if not captions:
        return Conditions((), (), (), f"none: {listing.source} names no classes")
    distinct = len(set(captions))
    if distinct <= MOST_CAPTIONS and len(captions) >= FEWEST_REPEATS * distinct:
        return _classes(captions, captions, "one per distinct caption")
    why = (
        f"none: {distinct:,} distinct captions for {len(captions):,} images; captions become classes when each occurs "
        f"at least twice on average and there are at most {MOST_CAPTIONS:,}; they stay available as captions"
    )
    return Conditions((), (), captions, why)


def _classes(names: Sequence[str], captions: tuple[str, ...], source: str) -> Conditions:
    """Put classes in the order of their names, and label each item."""
    classes = tuple(sorted(set(names), key=_by_number))
    number = {name: label for label, name in enumerate(classes)}
    shown = ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
    why = f"{len(classes)} class{'es' if len(classes) > 1 else ''} {source}: {shown}"
    return Conditions(tuple(number[name] for name in names), classes, captions, why)


def _by_number(name: str) -> tuple[bool, int, str]:
    """Order whole numbers first and numerically, then by the alphabet."""
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)
