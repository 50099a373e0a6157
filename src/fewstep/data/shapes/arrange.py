"""Places for one to three objects that stand as they should and keep their distance."""

from collections.abc import Sequence
from random import Random

from fewstep.data.shapes.outlines import HEIGHTS

__all__ = ["arrange", "between"]

EDGE, GAP = 0.02, 0.05  # of the side, and at least half a pixel and 1.6 pixels: blur must not join two objects
ROOM = 1.06  # times the radius that a shape needs, as it may be tilted
WANDER = 0.15  # how far two objects in a row may be off, of the way that there is
Reach = tuple[float, float]  # how far something reaches before and behind its place along one axis


def arrange(
    random: Random, shapes: Sequence[str], radii: Sequence[float], where: tuple[str, str], size: int
) -> list[tuple[float, float]]:
    """Return the centres (x, y) of one to three objects, in sides of an image of ``size`` pixels.

    ``where`` is how the first stands to the second, "left" or "above", and where the third one stands to both.
    """
    relation, side = where
    wide = [(ROOM * radius, ROOM * radius) for radius in radii]
    heights = [HEIGHTS.get(shape, (1.0, 1.0)) for shape in shapes]
    high = [(ROOM * radius * up, ROOM * radius * down) for radius, (up, down) in zip(radii, heights, strict=True)]
    along, across = (wide, high) if relation == "left" else (high, wide)
    first, *second = _line(random, along[:2], size)
    if side:
        one, other = _beside(random, across, side in ("left", "above"), size)
        places = [(first, one), (second[0], one), (_line(random, along[2:], size)[0], other)]
    else:
        start = random.random()
        shares = [min(max(start + between(random, (-WANDER, WANDER)), 0.0), 1.0) for _ in across]
        ways = [_line_at(share, reach, size) for share, reach in zip(shares, across, strict=True)]
        places = list(zip((first, *second), ways, strict=True))
    return places if relation == "left" else [(x, y) for y, x in places]


def between(random: Random, ends: tuple[float, float]) -> float:
    """Return a number between the ends, all equally likely."""
    return ends[0] + (ends[1] - ends[0]) * random.random()


def _beside(random: Random, across: Sequence[Reach], before: bool, size: int) -> tuple[float, float]:
    """Return the places, along one axis, of a pair and of a third object before or behind it."""
    pair, third = (max(across[0][0], across[1][0]), max(across[0][1], across[1][1])), across[2]
    places = _line(random, [third, pair] if before else [pair, third], size)
    return (places[1], places[0]) if before else (places[0], places[1])


def _line(random: Random, reaches: Sequence[Reach], size: int) -> list[float]:
    """Return places along one axis, in this order, with at least a gap between what they reach."""
    edge, gap = max(EDGE, 0.5 / size), max(GAP, 1.6 / size)
    free = max(1 - 2 * edge - gap * (len(reaches) - 1) - sum(map(sum, reaches)), 0.0)
    places, taken = [], edge
    for share, (before, behind) in zip(sorted(random.random() for _ in reaches), reaches, strict=True):
        places.append(taken + free * share + before)
        taken += before + behind + gap
    return places


def _line_at(share: float, reach: Reach, size: int) -> float:
    """Return the place of one object along one axis, at this share of the way that it could move."""
    edge = max(EDGE, 0.5 / size)
    return edge + reach[0] + share * (1 - 2 * edge - sum(reach))
