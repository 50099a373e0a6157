"""Meanings that differ from another one in one part: what an image of the other one is not."""

from collections.abc import Iterator
from dataclasses import replace

from fewstep.data.shapes.meaning import ACROSS, Meaning, Thing, meaning_of
from fewstep.data.shapes.vocabulary import COLOURS, SHAPES, SIDES, SIZES, TEXTURES, TONES, Difficulty
from fewstep.errors import DataError

__all__ = ["altered"]

OTHER = {"left": "right", "right": "left", "above": "below", "below": "above"}


def altered(meaning: Meaning, difficulty: Difficulty) -> list[tuple[str, Meaning]]:
    """Return meanings that differ in one part of what is said, each with the name of that part (see ``PARTS``).

    They have every other colour, shape, size and texture of the difficulty, one object at a time; one object more or
    fewer; the relation and the side the other way round or across; the other tone.  If every object is fully described,
    none of them is true of the same image; if not, one may be: "a red circle" is a small one as well.
    """
    return [*_things(meaning, difficulty), *_counts(meaning), *_places(meaning)]


def _things(meaning: Meaning, difficulty: Difficulty) -> Iterator[tuple[str, Meaning]]:
    choices = {"colour": [*COLOURS][: difficulty.colours], "shape": SHAPES[: difficulty.shapes]}
    for place, thing in enumerate(meaning.things):
        for part, names in (choices | {"size": SIZES, "texture": TEXTURES if difficulty.textured else ()}).items():
            said = vars(thing)[part]
            for other in (name for name in names if said not in ("", name)):
                yield from _if_it_can_be_said(part, meaning, place, replace(thing, **{part: other}))


def _if_it_can_be_said(part: str, meaning: Meaning, place: int, thing: Thing) -> Iterator[tuple[str, Meaning]]:
    things = (*meaning.things[:place], thing, *meaning.things[place + 1 :])
    try:
        yield part, meaning_of(things, meaning.relation, meaning.side, meaning.tone)
    except DataError:  # two objects that are described alike have no relation
        return


def _counts(meaning: Meaning) -> Iterator[tuple[str, Meaning]]:
    things = meaning.things
    if len(things) < 3:
        yield "count", meaning_of((*things, things[-1]), tone=meaning.tone)
    if len(things) > 1:
        yield "count", meaning_of(things[:-1], tone=meaning.tone)


def _places(meaning: Meaning) -> Iterator[tuple[str, Meaning]]:
    relation, side = meaning.relation, meaning.side
    if relation:
        yield "relation", meaning_of(meaning.things, OTHER[relation], side, meaning.tone)
    if relation and not side:
        yield "relation", meaning_of(meaning.things, ACROSS[relation][0], tone=meaning.tone)
    if side in SIDES:
        yield "relation", meaning_of(meaning.things, relation, OTHER[side], meaning.tone)
    if meaning.tone:
        yield "tone", replace(meaning, tone=TONES[1 - TONES.index(meaning.tone)])
