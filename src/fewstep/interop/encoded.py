"""Data as a pipeline sees them: latents with packed prompts, kept in shards so that each is encoded once."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from fewstep.batch import Batch
from fewstep.data import Checker, Data, Prompts
from fewstep.data.base import digest
from fewstep.errors import DataError
from fewstep.interop.pipe import AT_ONCE, Pipe
from fewstep.interop.shelf import SHARD, Shelf
from fewstep.model import Model
from fewstep.networks import digest_of
from fewstep.store import fingerprint
from fewstep.types import Cond, X

__all__ = ["Encoded"]

MOST = 16 << 30  # bytes of packed prompts that are kept in files; where they are more, each batch is encoded anew
OTHER = -1.0  # the number of a prompt that is none of the data's


@final
class Encoded(Data):
    """The items of ``source`` as latents, their captions as packed prompts; classes stay classes.

    ``cache`` is where shards are kept, in a folder named by what they are made of: pipeline, data and size.  Of prompts
    alone the items are what ``teacher`` makes of them, each from a seed of its own; by default that is the pipeline.
    Raises ``DataError`` for data without captions where the pipeline reads text, and for images of another form.
    """

    def __init__(self, source: Data, pipe: Pipe, cache: Path, teacher: Model | None = None) -> None:
        if source.shape != pipe.image:
            raise DataError(
                f"The data {source.name!r} are items of {'x'.join(map(str, source.shape))}, but the pipeline makes "
                f"images of {'x'.join(map(str, pipe.image))}. Give --size {pipe.size[0]}, or other data."
            )
        self.source, self.pipe = source, pipe
        self.maker = (teacher or pipe.model()) if isinstance(source, Prompts) else None
        self.name, self.shape = source.name, pipe.shape
        self.classes = pipe.classes
        if pipe.classes and source.classes != pipe.classes:
            raise DataError(
                f"The pipeline tells {len(pipe.classes)} classes apart, the data {source.name!r} "
                f"{len(source.classes)}. Give data with the same classes in the same order."
            )
        if pipe.extra is not None:
            self._ends(0, min(1, len(source)))  # before anything else, whether there are such images
        self._shelf = Shelf(cache / "encoded" / self.fingerprint()[:16])

    def __len__(self) -> int:
        return len(self.source)

    @cached_property
    def condition(self) -> tuple[int, ...]:
        packing = self.pipe.packing
        return (packing.width,) if packing.shapes else ()

    @property
    def lazy(self) -> bool:
        return True

    @property
    def checker(self) -> "PromptChecker":
        return PromptChecker(self)

    @cached_property
    def captions(self) -> list[str]:
        """The caption of each item."""
        return self.source.captions_of(range(len(self)))

    @cached_property
    def prompts(self) -> tuple[list[str], list[int]]:
        """The captions, each once, and which of them each item has."""
        number: dict[str, int] = {}
        of_item = [number.setdefault(caption, len(number)) for caption in self.captions]
        return list(number), of_item

    @cached_property
    def unread(self) -> str:
        """Say how many of the prompts are not read whole; "" where all are."""
        return self.pipe.unread(self.prompts[0]) if self.condition else ""

    def batch(self, indices: Sequence[int]) -> Batch:
        x0 = self._shelf.rows("latents", indices, len(self), self._latents)
        return Batch(x0, self.conditions(indices))

    def conditions(self, indices: Sequence[int]) -> Cond:
        if not self.condition:
            return self.source.conditions(indices) if self.classes else None
        texts, of_item = self.prompts
        wanted = [of_item[i] for i in indices]
        width = self.pipe.packing.prompt.width
        if len(texts) * width * 4 > MOST:
            rows = self.pipe.texts([texts[i] for i in wanted])
            rows[:, 0] = torch.tensor(wanted) + 1
        else:
            rows = self._shelf.rows("prompts", wanted, len(texts), self._packed)
        return rows if self.pipe.extra is None else torch.cat([rows, self._kept(indices)], 1)

    def completed(self, rows: Tensor) -> Tensor:
        """Return prompts of one's own with what the first items keep, one after the other."""
        if self.pipe.extra is None:
            return rows
        return torch.cat([rows, self._kept([i % len(self) for i in range(len(rows))])], 1)

    def _kept(self, indices: Sequence[int]) -> Tensor:
        """Return what conditions keep of the items' images, besides prompts."""
        packing = self.pipe.packing
        if len(self) * (packing.width - packing.prompt.width) * 4 > MOST:
            return torch.cat([self._ends(i, i + 1) for i in indices])
        return self._shelf.rows("kept", indices, len(self), self._ends)

    def _ends(self, start: int, stop: int) -> Tensor:
        """Return the ends of conditions that are made of the items' images."""
        items, extra = range(start, stop), self.pipe.extra
        further = () if extra is None else extra.COLUMNS
        images = {
            name: self.source.images_of(name, items) if name in further else self.source.batch(items).x0
            for name in (() if extra is None else extra.IMAGES)
        }
        ends = self.pipe.kept(images)
        return torch.empty(stop - start, 0) if ends is None else ends

    def pictures(self, x: Tensor) -> Tensor:
        return self.pipe.decode(x).cpu()

    def prepare(self, progress: Callable[[int, int], None]) -> None:
        """Encode whatever is not kept yet; says how many items are done, of how many."""
        for start in range(0, len(self), SHARD):
            progress(start, len(self))
            self.batch([start])
        progress(len(self), len(self))

    def describe(self) -> dict[str, str]:
        channels, height, width = self.shape
        known = {"latents": f"{channels} channels of {height}x{width}, encoded by {self.pipe.place}"}
        if self.condition:
            known["prompts"] = f"{len(self.prompts[0]):,} different ones, {self.unread or 'all read whole'}"
        if self.pipe.extra is not None:
            known["besides"] = f"{' and '.join(self.pipe.extra.IMAGES)} of each item, for {self.pipe.extra.name}"
        return self.source.describe() | known

    def fingerprint(self) -> str:
        networks = [part for part in self.pipe.pipeline.components.values() if isinstance(part, torch.nn.Module)]
        outside = [digest_of(part) for part in networks if part is not self.pipe.backbone]
        about = repr((self.pipe.size, self.pipe.family.name, outside))
        if self.pipe.extra is not None:
            about += self.pipe.extra.name
        if self.maker is not None:
            about += repr((fingerprint(self.maker), self.maker.sampler))
        return digest([self.source.fingerprint().encode(), about.encode()])

    def _packed(self, start: int, stop: int) -> Tensor:
        return self.pipe.texts(self.prompts[0][start:stop], start + 1)

    def _latents(self, start: int, stop: int) -> Tensor:
        if self.maker is not None:
            return self.maker.sample(range(start, stop), self.conditions(range(start, stop)), batch=AT_ONCE)
        return self.pipe.encode(self.source.batch(range(start, stop)).x0).cpu()


@final
class PromptChecker(Checker):
    """Checks latents by what the data say of their images, and knows packed prompts by their number."""

    bounded = False

    def __init__(self, data: Encoded) -> None:
        self.data, self.inner = data, data.source.checker
        self.kinds = self.inner.kinds if self.inner is not None and data.condition else 0

    def seen(self, x: X) -> Tensor:
        images = self.data.pictures(x)
        return images if self.inner is None else self.inner.seen(images)

    def kind(self, c: Tensor) -> Tensor:
        return self._asked_by(c, lambda inner, asked: inner.kind(asked), -torch.ones(len(c), dtype=torch.long))

    def right(self, x: X, c: Tensor) -> Tensor:
        images = self.data.pictures(x)
        known = self._known(c)
        found = torch.ones(len(c), dtype=torch.bool)
        if self.inner is not None and known.any():
            found[known] = self.inner.right(images[known], self._inner(c[known]))
        return found

    def words(self, c: Tensor) -> list[str]:
        texts = self.data.prompts[0]
        return [texts[int(i) - 1] if i > 0 else ("anything" if i == 0 else "a prompt of yours") for i in c[:, 0]]

    def asked(self, words: Sequence[str]) -> Tensor:
        rows = self.data.pipe.texts(words)
        rows[:, 0] = OTHER
        return self.data.completed(rows)

    def _asked_by(self, c: Tensor, ask: Callable[[Checker, Tensor], Tensor], otherwise: Tensor) -> Tensor:
        known = self._known(c)
        if self.inner is not None and known.any():
            otherwise[known] = ask(self.inner, self._inner(c[known]))
        return otherwise

    def _known(self, c: Tensor) -> Tensor:
        return (c[:, 0] > 0).cpu() if self.data.condition else torch.zeros(len(c), dtype=torch.bool)

    def _inner(self, c: Tensor) -> Tensor:
        """Return the conditions of the source that packed prompts of the data stand for."""
        asked = None if self.inner is None else self.inner.asked(self.words(c))
        if asked is None:
            raise DataError(f"The data {self.data.source.name!r} cannot be asked in words.")
        return asked
