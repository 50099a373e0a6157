"""Tensors that are made once and kept in files, of which memory holds no more than so much."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from fewstep.files import write_whole

__all__ = ["SHARD", "Shelf"]

SHARD = 1000  # items or prompts in a file
HELD = 1 << 30  # bytes of shards in memory, of one set of data


class Shelf:
    """Rows of several kinds, in shards of ``SHARD`` rows under the folder ``root``.

    Shards stay in memory until they take ``held`` bytes; from all others the rows that are asked for are read.  Batches
    are drawn from all shards alike, so that letting the oldest one go would read a whole shard for nearly every row.
    """

    def __init__(self, root: Path, held: int = HELD) -> None:
        self.root, self.room = root, held
        self._known: dict[str, Tensor] = {}

    def rows(self, kind: str, wanted: Sequence[int], count: int, make: Callable[[int, int], Tensor]) -> Tensor:
        """Return rows by their numbers, below ``count``; ``make(start, stop)`` makes those of shards that are missing.

        There is at least one.
        """
        places: dict[int, list[int]] = {}
        for place, number in enumerate(wanted):
            places.setdefault(number // SHARD, []).append(place)
        parts, order = [], []
        for number, own in places.items():
            path = self._path(kind, number, count, make)
            parts.append(self._read(path, kind, [wanted[place] % SHARD for place in own]))
            order += own
        return torch.cat(parts)[torch.tensor(order).argsort()]

    def _path(self, kind: str, number: int, count: int, make: Callable[[int, int], Tensor]) -> Path:
        """Return the file of a shard, made if it is not there."""
        path = self.root / f"{kind}-{number:05}.safetensors"
        if path.name not in self._known and not path.is_file():
            made = make(number * SHARD, min((number + 1) * SHARD, count))
            write_whole(path, save({kind: made.contiguous()}))
        return path

    def _read(self, path: Path, kind: str, rows: Sequence[int]) -> Tensor:
        """Return some rows of a shard, and keep the shard where there is room."""
        if path.name not in self._known and path.stat().st_size <= self.room:
            self._known[path.name] = load_file(path)[kind]
            self.room -= path.stat().st_size
        if path.name in self._known:
            return self._known[path.name][torch.tensor(rows)]
        with safe_open(path, "pt") as file:
            part = file.get_slice(kind)
            return torch.cat([part[row : row + 1] for row in rows])
