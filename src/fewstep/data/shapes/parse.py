"""From a caption to its meaning: the inverse of ``say``."""

import re
from collections.abc import Iterable, Mapping

from fewstep.data.shapes import speak
from fewstep.data.shapes.meaning import Meaning, Thing, meaning_of
from fewstep.errors import DataError, nearest

__all__ = ["parse"]

Phrases = Mapping[tuple[str, ...], str]  # what stands for a value: its words -> the value
ARTICLES = ("a", "an")
LINKS = ("and", ", and", ", with", "with", ",")
GROUNDS = ("on a", "against a")
EXAMPLES = "'a red circle', 'two blue squares', 'a red circle left of a green cross on a dark background'"


def parse(caption: str) -> Meaning:
    """Return what a caption says.

    Accepted is what ``say`` can make, in any capitals, with or without a full stop.  Raises ``DataError`` for anything
    else, with the word that was not understood and those that are known there.
    """
    reader = _Reader(caption)
    reader.take(_phrases({"opening": filter(None, speak.OPENINGS)}))
    things = reader.group()
    relation, side = reader.take(_phrases(speak.RELATIONS)), ""
    if relation:
        things += reader.group()
    while not side and reader.take(_phrases({"link": LINKS})):
        things += reader.group()
        if relation:
            side = reader.need(_phrases(speak.RELATIONS))
            reader.need(_phrases({"both": speak.BOTH}))
    tone = ""
    if reader.take(_phrases({"ground": GROUNDS})):
        tone = reader.need(_phrases(speak.TONE_WORDS))
        reader.need({("background",): "background"})
    reader.end()
    return meaning_of(things, relation, side, tone)


class _Reader:
    """Words of a caption, read from the left."""

    def __init__(self, caption: str) -> None:
        self.caption = caption
        self.words = re.findall(r"[^\s,]+|,", caption.lower().strip().removesuffix("."))
        self.place = 0

    def take(self, phrases: Phrases) -> str:
        """Return the value of the longest phrase that comes next and go past it; "" when none does."""
        for length in sorted({len(words) for words in phrases}, reverse=True):
            words = tuple(self.words[self.place : self.place + length])
            if words in phrases:
                self.place += length
                return phrases[words]
        return ""

    def need(self, phrases: Phrases) -> str:
        """Do ``take``, or raise ``DataError``."""
        return self.take(phrases) or self.refuse([" ".join(words) for words in phrases])

    def group(self) -> list[Thing]:
        """Read one object, or several that are alike."""
        numbers = {"1": ARTICLES} | {str(count): names for count, names in speak.GROUPS.items()}
        count = int(self.need(_phrases(numbers)))
        said = {part: self.take(_phrases(names)) for part, names in speak.WORDS.items()}
        nouns = {shape or "object": [pair[count > 1] for pair in pairs] for shape, pairs in speak.NOUNS.items()}
        shape = self.take(_phrases(nouns))
        if not shape:
            adjectives = [word for names in speak.WORDS.values() for words in names.values() for word in words]
            self.refuse([*(noun for names in nouns.values() for noun in names), *adjectives])
        return [Thing(shape="" if shape == "object" else shape, **said)] * count

    def end(self) -> None:
        """Raise ``DataError`` when something is left."""
        if self.place < len(self.words):
            relations = [name for names in speak.RELATIONS.values() for name in names]
            self.refuse([*relations, *LINKS, *GROUNDS])

    def refuse(self, known: Iterable[str]) -> str:
        """Raise ``DataError`` at the word that comes next."""
        rest = " ".join(self.words[self.place :])
        word = self.words[self.place] if rest else ""
        raise DataError(
            f"The caption {self.caption!r} is not understood from {rest or 'its end'!r} on; {nearest(word, known)} "
            f"Adjectives stand in the order size, texture, colour. Captions are such as {EXAMPLES}."
        )


def _phrases(names: Mapping[str, Iterable[str]]) -> Phrases:
    """Turn the names of values into words to look for."""
    return {tuple(name.split()): value for value, given in names.items() for name in given}
