"""From a meaning to one of the many captions that say it."""

from collections.abc import Mapping, Sequence
from random import Random

from fewstep.data.shapes.compose import pick
from fewstep.data.shapes.meaning import Meaning, Thing

__all__ = ["BOTH", "GROUPS", "NOUNS", "OPENINGS", "RELATIONS", "TONE_WORDS", "WORDS", "say"]

WORDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "size": {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")},
    "texture": {
        "plain": ("plain", "solid"),
        "striped": ("striped", "stripy"),
        "dotted": ("dotted", "spotted"),
        "checked": ("checked", "checkered"),
    },
    "colour": {
        "red": ("red", "scarlet"),
        "yellow": ("yellow", "golden"),
        "green": ("green", "emerald"),
        "cyan": ("cyan", "turquoise"),
        "blue": ("blue", "azure"),
        "pink": ("pink", "magenta"),
        "orange": ("orange", "amber"),
        "purple": ("purple", "violet"),
    },
}
"""The words for each value of an attribute, in the order in which they stand before a noun."""
NOUNS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "circle": (("circle", "circles"), ("disc", "discs")),
    "square": (("square", "squares"), ("box", "boxes")),
    "triangle": (("triangle", "triangles"),),
    "cross": (("cross", "crosses"), ("plus", "pluses")),
    "diamond": (("diamond", "diamonds"), ("rhombus", "rhombuses")),
    "ring": (("ring", "rings"), ("hoop", "hoops")),
    "star": (("star", "stars"),),
    "": (("object", "objects"), ("thing", "things")),
}
RELATIONS: Mapping[str, tuple[str, ...]] = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under", "beneath"),
}
BOTH = ("them", "both")  # what a third object stands beside
GROUPS: Mapping[int, tuple[str, ...]] = {2: ("two", "a pair of"), 3: ("three", "a trio of")}
OPENINGS = ("", "an image of", "a picture of", "a drawing of")
TONE_WORDS: Mapping[str, tuple[str, ...]] = {"light": ("light", "bright", "pale"), "dark": ("dark", "gloomy")}
OPPOSITE = {"left": "right", "above": "below"}
PLAIN = 0.5  # share of captions that begin with the first object


def say(meaning: Meaning, random: Random) -> str:
    """Return a caption, such as ``a picture of a small red disc to the left of two``."""
    opening = "" if random.random() < PLAIN else pick(random, OPENINGS)
    said = _related(meaning, random) if meaning.relation else _listed(meaning.things, random)
    ground = ""
    if meaning.tone:
        ground = f"{pick(random, ('on', 'against'))} a {pick(random, TONE_WORDS[meaning.tone])} background"
    return " ".join(part for part in (opening, said, ground) if part)


def _related(meaning: Meaning, random: Random) -> str:
    """Say two objects and how they stand, either way round, and where the third one stands."""
    first, second, *third = [_noun_phrase([thing], random) for thing in meaning.things]
    relation = meaning.relation
    if random.random() < 0.5:
        first, second, relation = second, first, OPPOSITE[relation]
    said = f"{first} {pick(random, RELATIONS[relation])} {second}"
    for phrase in third:
        link = pick(random, (", with", ", and"))
        said += f"{link} {phrase} {pick(random, RELATIONS[meaning.side])} {pick(random, BOTH)}"
    return said


def _listed(things: Sequence[Thing], random: Random) -> str:
    """Say objects in any order, those that are described alike by their number."""
    kinds = sorted(dict.fromkeys(things), key=lambda thing: random.random())  # a set has another order in every process
    phrases = [_noun_phrase([thing] * things.count(thing), random) for thing in kinds]
    return " and ".join([*filter(None, [", ".join(phrases[:-1])]), phrases[-1]])


def _noun_phrase(things: Sequence[Thing], random: Random) -> str:
    """Say one object with its article, or several with their number: ``an orange ring``, ``two tiny red discs``."""
    thing, count = things[0], len(things)
    adjectives = [pick(random, names[vars(thing)[part]]) for part, names in WORDS.items() if vars(thing)[part]]
    words = " ".join([*adjectives, pick(random, NOUNS[thing.shape])[count > 1]])
    article = "an" if words[0] in "aeiou" else "a"
    return f"{article if count == 1 else pick(random, GROUPS[count])} {words}"
