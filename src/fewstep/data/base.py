"""What training reads: ``Data`` hands out a ``Batch`` for any list of item numbers."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from hashlib import sha256

import torch
from torch import Tensor

from fewstep.batch import Batch
from fewstep.data.checker import Checker
from fewstep.data.ear import Ear
from fewstep.errors import DataError
from fewstep.types import Cond

__all__ = ["Data", "digest"]

AT_ONCE = 1024  # items that are read together where only their conditions are asked for


class Data(ABC):
    """A finite collection of items that can be asked for in any order.

    ``name``    what messages and reports call it.
    ``shape``   of one item, channels first.
    ``classes`` the name of each label, label 0 first; empty when unconditional.
    """

    name: str
    shape: tuple[int, ...]
    classes: tuple[str, ...]

    @abstractmethod
    def __len__(self) -> int:
        """Count the items."""

    @abstractmethod
    def batch(self, indices: Sequence[int]) -> Batch:
        """Return the items with these numbers, in this order; a pure function of ``indices``.

        ``x0`` (b, *shape) is float32 in [-1, 1], ``c`` int64 labels (b,), float32 (b, *condition) or None, ``z``
        the noise of pairs.
        """

    def conditions(self, indices: Sequence[int]) -> Cond:
        """Return the ``c`` of ``batch(indices)``, without the items.

        Here they are read nevertheless, 1,024 at a time; data that know their conditions by themselves say so.
        """
        starts = range(0, max(len(indices), 1), AT_ONCE)
        parts = [self.batch(indices[start : start + AT_ONCE]).c for start in starts]
        given = [c for c in parts if c is not None]
        return torch.cat(given) if given else None

    @property
    def condition(self) -> tuple[int, ...]:
        """The shape of one condition: () for a label or none at all, (features,) for a vector, and so on."""
        return ()

    @property
    def ear(self) -> Ear | None:
        """What plays and checks the items when they are sounds."""
        return None

    @property
    def checker(self) -> Checker | None:
        """What says whether a generated item is what was asked for, where that can be told without a network."""
        return self.ear

    def captions_of(self, indices: Sequence[int]) -> list[str]:
        """Return what each of these items is in words: its caption, or else the name of its class.

        Raises ``DataError`` when items have neither.
        """
        if not self.classes:
            raise DataError(
                f"The data {self.name!r} have no captions, which a model that reads prompts needs. Give a folder with "
                "a metadata.jsonl of file_name and text, a .txt beside each image, or a folder for each class."
            )
        labels = self.conditions(indices)
        return [] if labels is None else [self.classes[label] for label in labels.tolist()]

    def images_of(self, name: str, indices: Sequence[int]) -> Tensor:
        """Return further images of these items: ``control``, ``mask`` or ``source``, (b, 3, h, w) in [-1, 1].

        A mask has one channel, above 0 where something is to be filled in.  Raises ``DataError`` where there is none.
        """
        raise DataError(
            f"The data {self.name!r} have no {name!r} images, which this pipeline is told besides the prompt. Give a "
            f'folder with a metadata.jsonl in which each line names one, such as {{"file_name": "0001.png", '
            f'"text": "a caption", "{name}": "{name}/0001.png"}}; or shapes, which draw their own.'
        )

    def pictures(self, x: Tensor) -> Tensor:
        """Return generated items as what a person is shown: themselves, or what they stand for."""
        return x

    @property
    def lazy(self) -> bool:
        """Whether ``batch`` has to read or decode; the loader then works ahead in a thread."""
        return False

    @abstractmethod
    def describe(self) -> dict[str, str]:
        """Say what was understood, one line per topic, for people to check before a long run."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of everything here that training depends on."""


def digest(parts: Iterable[bytes]) -> str:
    """Return the SHA-256 (hex) of parts, each preceded by its length so that borders count."""
    total = sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "little"))
        total.update(part)
    return total.hexdigest()
