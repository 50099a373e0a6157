"""What a caption says, in one form for all ways of saying it, and the condition vectors that it amounts to."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import torch
from torch import Tensor

from fewstep.data.shapes.vocabulary import COLOURS, SHAPES, SIDES, SIZES, TEXTURES, TONES
from fewstep.errors import DataError

__all__ = ["FEATURES", "Meaning", "Thing", "condition", "meaning_of", "read_condition"]

MOST = 3
ACROSS = {"left": ("above", "below"), "above": ("left", "right")}  # where a third object can stand to two
MIRRORED = {"right": "left", "below": "above"}


@dataclass(frozen=True, order=True)
class Thing:
    """What is said of one object; ``""`` stands for what is not said."""

    colour: str = ""
    shape: str = ""
    size: str = ""
    texture: str = ""

    def allows(self, other: "Thing") -> bool:
        """Say whether an object that is ``other`` is one of these."""
        return all(mine in ("", yours) for mine, yours in zip(astuple(self), astuple(other), strict=True))

    def excludes(self, other: "Thing") -> bool:
        """Say whether no object can be both."""
        return any(a != b for a, b in zip(astuple(self), astuple(other), strict=True) if a and b)


@dataclass(frozen=True)
class Meaning:
    """What is said of an image; make it with ``meaning_of``, so that equal meanings are equal.

    ``relation``  how the first object stands to the second: "left" (of it), "above" (it) or "" (not said).
    ``side``      where the third one stands to both, one of ``SIDES``, or "".
    ``tone``      of the background, one of ``TONES``, or "".
    """

    things: tuple[Thing, ...]
    relation: str = ""
    side: str = ""
    tone: str = ""


SLOT = (("colour", tuple(COLOURS)), ("shape", SHAPES), ("size", SIZES), ("texture", TEXTURES))
REST = (("relation", ("left", "above")), ("side", SIDES), ("tone", TONES))
NAMES = (
    *((i, part, name) for i in range(MOST) for part, names in (("", ("there",)), *SLOT) for name in names),
    *((MOST, part, name) for part, names in REST for name in names),
)
PLACES = {key: place for place, key in enumerate(NAMES)}
FEATURES = len(NAMES)


def meaning_of(things: Sequence[Thing], relation: str = "", side: str = "", tone: str = "") -> Meaning:
    """Return the one form of a meaning: "right" and "below" become "left" and "above" of the objects in other order;
    without a relation the objects are in the order of their names.

    Raises ``DataError`` when this cannot be said: no object or more than three, a relation of one object or of two
    that are described in the same way, a third object without a place where the others have one.
    """
    if not 1 <= len(things) <= MOST:
        raise DataError(f"{len(things)} objects were described; accepted are 1 to {MOST}.")
    if relation in MIRRORED:
        things, relation = (things[1], things[0], *things[2:]), MIRRORED[relation]
    if not relation and not side:
        return Meaning(tuple(sorted(things)), tone=tone)
    if len(things) < 2 or len(set(things)) < len(things):
        raise DataError("A relation was said of objects that are described in the same way; describe each differently.")
    if side not in (ACROSS.get(relation, ()) if len(things) == MOST else ("",)):
        raise DataError(
            f"The first object stands {relation!r} of the second and the third one {side!r} of both. Accepted: two "
            "objects of which one is left of or above the other, and a third one that is above or below, or left or "
            "right, of both."
        )
    return Meaning(tuple(things), relation, side, tone)


def condition(meanings: Sequence[Meaning]) -> Tensor:
    """Return vectors (n, FEATURES) of 0 and 1: per object that it is there, colour, shape, size and texture; relation,
    side and tone.  What is not said is 0, so that the vector 0 can stand for "no condition"."""
    c = torch.zeros(len(meanings), FEATURES)
    for row, meaning in zip(c, meanings, strict=True):
        row[[PLACES[key] for key in _keys(meaning)]] = 1
    return c


def read_condition(c: Tensor) -> list[Meaning | None]:
    """Return what ``condition`` was given; None for a vector that asks for nothing."""
    return [_meaning([NAMES[place] for place, value in enumerate(row) if value > 0.5]) for row in c.tolist()]


def _keys(meaning: Meaning) -> list[tuple[int, str, str]]:
    slots = [(i, "", "there") for i in range(len(meaning.things))]
    slots += [
        (i, part.name, vars(thing)[part.name]) for i, thing in enumerate(meaning.things) for part in fields(Thing)
    ]
    return [key for key in [*slots, *((MOST, part, vars(meaning)[part]) for part, _ in REST)] if key[2]]


def _meaning(keys: Sequence[tuple[int, str, str]]) -> Meaning | None:
    parts: list[dict[str, str]] = [{part: name for i, part, name in keys if i == slot and part} for slot in range(MOST)]
    things = tuple(Thing(**parts[i]) for i in range(MOST) if (i, "", "there") in keys)
    return Meaning(things, **{part: name for i, part, name in keys if i == MOST}) if things else None
