"""Further images of an item: what a pipeline is told besides a prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random

import torch
from torch import Tensor

from fewstep.data.decode import Unusable, decode_lenient
from fewstep.data.metadata import Entry
from fewstep.data.survey import crew
from fewstep.errors import DataError

__all__ = ["Further", "edges", "read_further", "rectangle"]

STEP = 0.15  # ours: less than the contrast of any object with its background, more than that of waves in it
SIDES = (0.25, 0.6)  # ours: of a rectangle, in sides of the image


def read_further(path: Path, name: str, size: int) -> Tensor:
    """Read a further image, (3, size, size) in [-1, 1]; (1, size, size) for a mask.

    The centre square, resized, as images are; grey or colour.  Raises ``DataError`` when it cannot be read.
    """
    try:
        return decode_lenient(path, size, 1 if name == "mask" else 3).float() / 127.5 - 1
    except Unusable as error:
        raise DataError(f"{path}, given as {name}, {error}. Give an image that can be read.") from error


@dataclass(frozen=True)
class Further:
    """The images of one column, one per item; None where an item has none, or where its file is not there.

    ``items`` are the names of the items.
    """

    items: tuple[str, ...]
    files: tuple[Path | None, ...]

    @classmethod
    def of(cls, root: Path, column: str, entries: Sequence[Entry]) -> "Further":
        """Look for the files of a column in a folder."""
        names = [entry.further.get(column) for entry in entries]
        files = (None if name is None else root / name for name in names)
        found = tuple(file if file is not None and file.is_file() else None for file in files)
        return cls(tuple(entry.name for entry in entries), found)

    def digest(self) -> bytes:
        """Return the SHA-256 of what all the files hold."""
        whole = sha256()
        for file in self.files:
            whole.update(b"none" if file is None else sha256(file.read_bytes()).digest())
        return whole.digest()

    def read(self, column: str, indices: Sequence[int], size: int) -> Tensor:
        """Return images (b, 3, size, size) in [-1, 1], masks (b, 1, ...).

        Raises ``DataError`` if any item has none, or one that cannot be read.
        """
        if missing := [item for item, file in zip(self.items, self.files, strict=True) if file is None]:
            raise DataError(
                f"The column {column!r} of metadata.jsonl names no image that is there for {len(missing)} of "
                f"{len(self.files)} items: {', '.join(missing[:5])}. Each must be the path of an image, relative to "
                "the folder of metadata.jsonl. Correct these lines, or put the files there."
            )
        with crew() as pool:
            return torch.stack(list(pool.map(lambda i: read_further(self.files[i] or Path(), column, size), indices)))


def rectangle(random: Random, size: int) -> Tensor:
    """Return a mask (1, size, size): 1 in a rectangle, -1 around it."""
    mask = torch.full((1, size, size), -1.0)
    spans = []
    for _ in range(2):
        length = max(round(size * (SIDES[0] + (SIDES[1] - SIDES[0]) * random.random())), 1)
        first = int(random.random() * (size - length + 1))
        spans.append(slice(first, first + length))
    mask[:, spans[0], spans[1]] = 1.0
    return mask


def edges(images: Tensor) -> Tensor:
    """Return white lines on black, (b, 3, h, w), where images (b, 3, h, w) change within a pixel."""
    across = (images[..., 1:] - images[..., :-1]).abs().amax(1, keepdim=True)
    down = (images[..., 1:, :] - images[..., :-1, :]).abs().amax(1, keepdim=True)
    steps = torch.zeros_like(images[:, :1])
    steps[..., 1:] = across
    steps[..., 1:, :] = torch.maximum(steps[..., 1:, :], down)
    return torch.where(steps > 2 * STEP, 1.0, -1.0).expand_as(images).contiguous()
