"""Stored pairs of a teacher: the noise z it started from and the image x0 it arrived at."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import torch

from fewstep.batch import Batch
from fewstep.data.base import Data, digest
from fewstep.data.pairs_index import PairsIndex, differences, planned_sizes, read_index, write_index
from fewstep.data.pairs_shard import noise, read_shard, write_shard
from fewstep.errors import DataError, RecipeError

__all__ = ["PairStore", "write_pairs"]


@final
@dataclass(frozen=True, eq=False, repr=False)
class PairStore(Data):
    """Pairs (z, x0, c) in a folder that ``write_pairs`` filled; made by ``PairStore.open``.

    The tensors are mapped from the files, so that a store may be larger than the memory.
    """

    name: str
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    index: PairsIndex
    shards: tuple[Batch, ...]

    @classmethod
    def open(cls, folder: str | Path, expect: Mapping[str, str] | None = None) -> "PairStore":
        """Read and check every shard in ``folder``.

        ``expect`` names entries of ``made_with`` that must have these values (teacher, solver, steps, ...).
        Raises ``DataError`` when the store is missing, unfinished, damaged, not finite, or made with something else.
        """
        root = Path(folder)
        index = read_index(root)
        if index is None:
            raise DataError(f"{str(root)!r} holds no pairs (no index.json). Give a folder that write_pairs has filled.")
        if index.done < index.count:
            raise DataError(
                f"The pairs in {str(root)!r} are unfinished: {index.done:,} of {index.count:,} are there. "
                "Run write_pairs again with the same settings; it continues where it stopped."
            )
        changed = differences(index.made_with, expect or {})
        if changed:
            raise DataError(
                f"The pairs in {str(root)!r} were made with something else than is asked for: {changed}. "
                "Ask for what they were made with, or write new pairs into another folder."
            )
        shards = tuple(read_shard(root, index, number) for number in range(len(index.sizes)))
        return cls(root.resolve().name, index.shape, index.classes, index, shards)

    @property
    def lazy(self) -> bool:
        """Return True: pages of the files are read when they are first touched."""
        return True

    def __len__(self) -> int:
        return self.index.count

    def batch(self, indices: Sequence[int]) -> Batch:
        items = range(len(self))  # refuses an index past the end, which a short last shard would not
        places = [divmod(items[index], self.index.shard) for index in indices]
        rows = [self.shards[shard].cut(row, row + 1) for shard, row in places]
        labels = [row.c for row in rows if row.c is not None]
        x0, z = torch.cat([row.x0 for row in rows]), torch.cat([noise(row) for row in rows])
        return Batch(x0, torch.cat(labels) if labels else None, z)

    def describe(self) -> dict[str, str]:
        size = "x".join(str(length) for length in self.shape)
        return {
            "data": f"teacher pairs {self.name}",
            "items": f"{len(self):,} pairs of {size} in {len(self.shards)} shards",
            "condition": self.index.conditioned_on,
            "made with": ", ".join(f"{key} {value}" for key, value in self.index.made_with.items()),
        }

    def fingerprint(self) -> str:
        tensors = (tensor for shard in self.shards for tensor in (shard.x0, noise(shard), shard.c))
        contents = (tensor.numpy().tobytes() for tensor in tensors if tensor is not None)
        return digest([repr((self.shape, self.classes)).encode(), *(digest([part]).encode() for part in contents)])


def write_pairs(
    folder: str | Path,
    make: Callable[[int, int], Batch],
    *,
    count: int,
    shard: int,
    made_with: Mapping[str, str],
    classes: Sequence[str] = (),
) -> Iterator[tuple[int, int]]:
    """Write ``count`` pairs, ``shard`` a file; yields pairs done and pairs in all, at the start and after each file.

    ``make(start, stop)`` returns pairs start to stop (exclusive) with their ``z`` and must always return the same.
    ``made_with`` records what decides the numbers: teacher fingerprint, solver, steps, guidance, start time, seed.
    It can be stopped at any moment and called again: finished files are kept, whatever is missing or damaged is
    written, and a larger ``count`` extends the store. The result then equals an uninterrupted run.

    Raises ``DataError`` at once when the folder holds pairs made with something else or more pairs than ``count``,
    and later when ``make`` returns something not finite or of another form; ``RecipeError`` for numbers below 1.
    """
    if count < 1 or shard < 1:
        raise RecipeError(f"{count} pairs in files of {shard} were asked for. Accepted: at least 1 of each.")
    root = Path(folder)
    before = read_index(root)
    if before is not None:
        _refuse_other_store(root, before, count, _settings(shard, classes, made_with))
    plan = PairsIndex(count, shard, (), (), None, tuple(classes), dict(made_with))
    return _write_missing(root, make, before, plan)


def _settings(shard: int, classes: Sequence[str], made_with: Mapping[str, str]) -> dict[str, str]:
    """Collect everything that a store and its continuation must have in common."""
    return {"pairs per file": str(shard), "classes": ", ".join(classes), **made_with}


def _refuse_other_store(root: Path, before: PairsIndex, count: int, wanted: Mapping[str, str]) -> None:
    """Raise when the pairs in ``root`` are others than those that are to be written."""
    stored = _settings(before.shard, before.classes, before.made_with)
    changed = differences(stored, dict.fromkeys(stored, "nothing") | dict(wanted))
    if changed:
        raise DataError(
            f"{str(root)!r} already holds pairs made with something else: {changed}. Continue with the same settings, "
            "give another folder, or delete this one."
        )
    if before.count > count:
        raise DataError(
            f"{str(root)!r} already holds a store of {before.count:,} pairs, more than the {count:,} asked for. "
            "Ask for at least as many, give another folder, or delete this one."
        )


def _write_missing(
    root: Path, make: Callable[[int, int], Batch], before: PairsIndex | None, plan: PairsIndex
) -> Iterator[tuple[int, int]]:
    """Write the shards of the plan that are not there; the index never promises a shard before it is."""
    root.mkdir(parents=True, exist_ok=True)
    sizes = planned_sizes(plan.count, plan.shard)
    missing = [number for number, size in enumerate(sizes) if before is None or not _kept(root, before, number, size)]
    index = None if before is None else replace(before, count=plan.count)
    for number, following in zip(missing, [*missing[1:], len(sizes)], strict=False):
        start = number * plan.shard
        if index is not None:
            write_index(root, replace(index, sizes=sizes[:number]))
        yield start, plan.count
        batch = make(start, start + sizes[number])
        index = index or _shaped(plan, batch)
        write_shard(root, index, number, batch)
        write_index(root, replace(index, sizes=sizes[:following]))
    yield plan.count, plan.count


def _kept(root: Path, before: PairsIndex, number: int, size: int) -> bool:
    """Tell whether the shard is there, whole, and of the size that is now planned."""
    if number >= len(before.sizes) or before.sizes[number] != size:
        return False
    try:
        read_shard(root, before, number)
    except DataError:
        return False
    return True


def _shaped(plan: PairsIndex, first: Batch) -> PairsIndex:
    """Complete the plan with the shapes of the first batch."""
    condition = None if first.c is None else tuple(first.c.shape[1:])
    return replace(plan, shape=tuple(first.x0.shape[1:]), condition=condition)
