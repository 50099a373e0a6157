"""Captioned shapes, drawn from a seed at any size: text to image without a download."""

from collections.abc import Sequence
from random import Random
from typing import final

import torch
from torch import Tensor

from fewstep.batch import Batch
from fewstep.data.base import Data, digest
from fewstep.data.checker import Checker
from fewstep.data.further import edges, rectangle
from fewstep.data.shapes.compose import Scene, compose, recoloured
from fewstep.data.shapes.look import Seen, look
from fewstep.data.shapes.meaning import FEATURES, Meaning, Thing, condition, read_condition
from fewstep.data.shapes.parse import parse
from fewstep.data.shapes.render import render
from fewstep.data.shapes.speak import say
from fewstep.data.shapes.verdict import Verdict, verdict
from fewstep.data.shapes.vocabulary import COLOURS, SHAPES, Difficulty
from fewstep.draws import seed_for
from fewstep.errors import DataError
from fewstep.types import X

__all__ = ["Shapes", "ShapesChecker"]

COUNT = 20_000  # ours: each pair of combinations that an easy corpus shows, 400 with two objects, about 25 times
VERSION = 1  # part of every fingerprint and every draw: raise it whenever the same seed makes other images


@final
class Shapes(Data):
    """Images of one to three objects on varied backgrounds, (3, size, size), with captions.

    ``size`` 16 to 256 pixels; ``difficulty`` easy (one or two plain objects), medium (up to three, small and large,
    more shapes and colours) or hard (textures too), by default the hardest one for the size; ``seed`` makes another
    corpus of the same law, ``count`` a longer or shorter one that begins alike.  Combinations of colour and shape in
    ``HELD_OUT`` never occur, but for one in every image of a corpus with ``held_out``.

    A condition says what the caption says, in 0 and 1 per word of the vocabulary.  An item depends on the seed and its
    number alone.
    """

    classes = ()

    def __init__(
        self, size: int = 16, difficulty: str | None = None, seed: int = 0, count: int = COUNT, held_out: bool = False
    ) -> None:
        if count < 0:
            raise DataError(f"{count} shapes were asked for; accepted is a count of at least 0.")
        self.difficulty = Difficulty.of(difficulty, size)
        self.name = "shapes" if difficulty is None else f"shapes-{difficulty}"
        self.shape = (3, size, size)
        self._seed, self._count, self._held_out = seed, count, held_out

    def __len__(self) -> int:
        return self._count

    @property
    def condition(self) -> tuple[int, ...]:
        return (FEATURES,)

    @property
    def lazy(self) -> bool:
        return True

    @property
    def checker(self) -> "ShapesChecker":
        return ShapesChecker(self.difficulty)

    def batch(self, indices: Sequence[int]) -> Batch:
        scenes = self._scenes(indices)
        return Batch(render(scenes, self.shape[-1]), condition([scene.said for scene in scenes]))

    def conditions(self, indices: Sequence[int]) -> Tensor:
        return condition(self.meanings(indices))

    def meanings(self, indices: Sequence[int]) -> list[Meaning]:
        """Return what the captions of these items say."""
        return [scene.said for scene in self._scenes(indices)]

    def captions_of(self, indices: Sequence[int]) -> list[str]:
        return [say(said, self._random("say", i)) for i, said in zip(indices, self.meanings(indices), strict=True)]

    def images_of(self, name: str, indices: Sequence[int]) -> Tensor:
        """Return edges (``control``), rectangles (``mask``), or the images with an object of another colour
        (``source``)."""
        side, scenes = self.shape[-1], self._scenes(indices)
        if name == "mask":
            return torch.stack([rectangle(self._random("mask", i), side) for i in indices])
        if name == "control":
            return edges(render(scenes, side))
        if name == "source":
            pairs = zip(indices, scenes, strict=True)
            return render([recoloured(scene, self._random("source", i), self.difficulty) for i, scene in pairs], side)
        return super().images_of(name, indices)

    def describe(self) -> dict[str, str]:
        kind, side = self.difficulty, self.shape[-1]
        what = f"1 to {kind.most} objects of {kind.shapes} shapes and {kind.colours} colours"
        more = "".join([", small and large" if kind.sized else "", ", textured" if kind.textured else ""])
        return {
            "data": f"{self.name}: captioned shapes, drawn from a seed; difficulty {kind.name}",
            "items": f"{len(self):,} colour images of {side}x{side}, drawn for each batch",
            "objects": what + more + (", one of them held out" if self._held_out else ""),
            "condition": f"what the caption says: {FEATURES} numbers",
        }

    def fingerprint(self) -> str:
        about = (self.name, VERSION, self.shape, self.difficulty, self._seed, self._count, self._held_out)
        few = range(min(len(self), 16))  # these show when the drawing or the wording changes
        said = repr(self.captions_of(few))
        return digest([repr(about).encode(), self.batch(few).x0.numpy().tobytes(), said.encode()])

    def _scenes(self, indices: Sequence[int]) -> list[Scene]:
        side = self.shape[-1]
        return [compose(self._random("draw", i), self.difficulty, side, self._held_out) for i in indices]

    def _random(self, what: str, index: int) -> Random:
        if not 0 <= index < len(self):
            raise DataError(f"Item {index} of {self.name} was asked for; accepted are 0 to {len(self) - 1}.")
        return Random(seed_for("shapes", VERSION, what, self._held_out, self._seed, int(index)))


@final
class ShapesChecker(Checker):
    """Sees what is in an image, real or generated, and compares it with a caption or a condition."""

    kinds = len(COLOURS) * len(SHAPES)

    def __init__(self, difficulty: Difficulty) -> None:
        self.difficulty = difficulty

    def look(self, x: X) -> list[Seen]:
        """Return what is in each image."""
        return look(x, self.difficulty)

    def verdicts(self, x: X, asked: Sequence[Meaning | str]) -> list[Verdict]:
        """Compare each image with its meaning or caption.  Raises ``DataError`` for a caption that has none."""
        meanings = [parse(each) if isinstance(each, str) else each for each in asked]
        return [verdict(meaning, seen) for meaning, seen in zip(meanings, self.look(x), strict=True)]

    def seen(self, x: X) -> Tensor:
        return x

    def kind(self, c: Tensor) -> Tensor:
        return torch.tensor([-1 if meaning is None else _kind(meaning.things[0]) for meaning in read_condition(c)])

    def right(self, x: X, c: Tensor) -> Tensor:
        asked = [(meaning, seen) for meaning, seen in zip(read_condition(c), self.look(x), strict=True)]
        return torch.tensor([meaning is None or verdict(meaning, seen).right for meaning, seen in asked])

    def words(self, c: Tensor) -> list[str]:
        return [say(meaning, Random(0)) if meaning else "anything" for meaning in read_condition(c)]

    def asked(self, words: Sequence[str]) -> Tensor:
        return condition([parse(each) for each in words])


def _kind(thing: Thing) -> int:
    """Number the combination; what is not said counts as the first."""
    return (SHAPES.index(thing.shape) if thing.shape else 0) * len(COLOURS) + (
        [*COLOURS].index(thing.colour) if thing.colour else 0
    )
