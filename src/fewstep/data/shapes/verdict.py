"""Whether an image is what a caption says, and which part of it is wrong."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from itertools import permutations

from fewstep.data.shapes.look import Found, Seen
from fewstep.data.shapes.meaning import Meaning, Thing

__all__ = ["PARTS", "Verdict", "holds", "shows", "verdict"]

ATTRIBUTES = tuple(part.name for part in fields(Thing))
PARTS = ("count", *ATTRIBUTES, "relation", "tone")
MOST = 5  # objects that are compared with what was asked for, the largest ones


@dataclass(frozen=True)
class Verdict:
    """What is wrong, some of ``PARTS`` in their order (nothing: fully right), and what was seen."""

    wrong: tuple[str, ...]
    seen: Seen

    @property
    def right(self) -> bool:
        """Whether every part of the caption is right."""
        return not self.wrong


def verdict(meaning: Meaning, seen: Seen) -> Verdict:
    """Compare an image with what was asked for, the objects matched so that the least is wrong."""
    count, there = len(meaning.things), seen.found[:MOST]
    missing = (None,) * (count - len(there))
    mistakes = [_wrong(meaning, way) for way in permutations((*there, *missing), count)]
    fewest: list[str] = min(mistakes, key=len)
    wrong = set(fewest)
    if count != len(seen.found):
        wrong |= {"count"}
    if meaning.tone not in ("", seen.tone):
        wrong |= {"tone"}
    return Verdict(tuple(part for part in PARTS if part in wrong), seen)


def holds(relation: str, first: Found, second: Found) -> bool:
    """Say whether the first object is "left" (of the second one) and so on: more so than above or below it."""
    across, down = second.x - first.x, second.y - first.y
    signed = {"left": across, "right": -across, "above": down, "below": -down}[relation]
    return signed > (abs(down) if relation in ("left", "right") else abs(across))


def shows(seen: Seen, thing: Thing) -> bool:
    """Say whether an image shows such a thing, whatever else: ``Thing(colour="red")`` is anything red."""
    return any(thing.allows(found.thing) for found in seen.found)


def _wrong(meaning: Meaning, way: Sequence[Found | None]) -> list[str]:
    """Return what is wrong when these objects, in this order, are those asked for (None: it is missing); a part for
    each mistake."""
    found = [each for each in way if each is not None]
    pairs = [(astuple(thing), astuple(each.thing)) for thing, each in zip(meaning.things, way, strict=True) if each]
    wrong = [
        part for pair in pairs for part, asked, is_ in zip(ATTRIBUTES, *pair, strict=True) if asked not in ("", is_)
    ]
    if meaning.relation and len(found) == len(way) and not _related(meaning, found):
        wrong.append("relation")
    return wrong


def _related(meaning: Meaning, way: Sequence[Found]) -> bool:
    first, second, *third = way
    return holds(meaning.relation, first, second) and all(_beside(meaning.side, each, first, second) for each in third)


def _beside(side: str, third: Found, *others: Found) -> bool:
    """Say whether an object is wholly on one side of the others' centres."""
    ways = [(each.x - third.x, each.y - third.y) for each in others]
    return all({"left": across, "right": -across, "above": down, "below": -down}[side] > 0 for across, down in ways)
