"""Stored pairs of a teacher: the noise z it started from, the image x0 it arrived at, and maybe the path between."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from torch import Tensor

from fewstep.batch import Batch
from fewstep.data.base import Data, digest
from fewstep.data.pairs_index import PairsIndex, PairsPlan, differences, read_index, write_index
from fewstep.data.pairs_shard import noise, read_shard, write_shard
from fewstep.errors import DataError
from fewstep.types import Cond

__all__ = ["PairStore", "PairsPlan", "write_pairs"]


@final
@dataclass(frozen=True, eq=False, repr=False)
class PairStore(Data):
    """Pairs (z, x0, c), or paths (z, path, x0, c), in a folder that ``write_pairs`` filled; from ``PairStore.open``.

    ``times`` of the states of each path, float by float what the teacher was asked for; () when no path is kept.
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

        ``expect`` names entries of ``made_with`` that must have these values (teacher, solver, steps, ...), and
        ``path`` as ``PairsPlan.facts`` says it; a store that keeps a path serves those who ask for none as well.
        Raises ``DataError`` when the store is missing, unfinished, damaged, not finite, or made with something else.
        """
        root = Path(folder)
        index = read_index(root)
        if index is None:
            raise DataError(f"{str(root)!r} holds no pairs (no index.json). Give a folder that write_pairs has filled.")
        if index.done < index.plan.count:
            raise DataError(
                f"The pairs in {str(root)!r} are unfinished: {index.done:,} of {index.plan.count:,} are there. "
                "Run write_pairs again with the same settings; it continues where it stopped."
            )
        changed = differences(index.plan.facts, expect or {})
        if changed:
            raise DataError(
                f"The pairs in {str(root)!r} were made with something else than is asked for: {changed}. "
                "Ask for what they were made with, or write new pairs into another folder."
            )
        shards = tuple(read_shard(root, index, number) for number in range(len(index.sizes)))
        return cls(root.resolve().name, index.shape, index.plan.classes, index, shards)

    @property
    def times(self) -> tuple[float, ...]:
        """Return the times of the states of a path, from the noisiest to the cleanest."""
        return self.index.plan.times

    @property
    def lazy(self) -> bool:
        """Return True: pages of the files are read when they are first touched."""
        return True

    def __len__(self) -> int:
        return self.index.plan.count

    def batch(self, indices: Sequence[int]) -> Batch:
        places = self._places(indices)
        path = [shard.path for shard in self.shards if shard.path is not None]
        return Batch(
            _picked([shard.x0 for shard in self.shards], places),
            self.conditions(indices),
            _picked([noise(shard) for shard in self.shards], places),
            _picked(path, places) if path else None,
        )

    def conditions(self, indices: Sequence[int]) -> Cond:
        c = [shard.c for shard in self.shards if shard.c is not None]
        return _picked(c, self._places(indices)) if c else None

    def _places(self, indices: Sequence[int]) -> list[tuple[int, int]]:
        """Return the shard of each pair and its row there."""
        items = range(len(self))  # refuses an index past the end, which a short last shard would not
        return [divmod(items[index], self.index.plan.shard) for index in indices]

    def describe(self) -> dict[str, str]:
        size = "x".join(str(length) for length in self.shape)
        return {
            "data": f"teacher pairs {self.name}",
            "items": f"{len(self):,} pairs of {size} in {len(self.shards)} shards",
            "condition": self.index.conditioned_on,
            "path": self.index.keeps,
            "made with": ", ".join(f"{key} {value}" for key, value in self.index.plan.made_with.items()),
        }

    def fingerprint(self) -> str:
        head = (self.shape, self.classes, *([self.times] if self.times else []))
        tensors = (tensor for shard in self.shards for tensor in (shard.x0, noise(shard), shard.c, shard.path))
        contents = (tensor.numpy().tobytes() for tensor in tensors if tensor is not None)
        return digest([repr(head).encode(), *(digest([part]).encode() for part in contents)])


def _picked(parts: Sequence[Tensor], places: Sequence[tuple[int, int]]) -> Tensor:
    """Return row ``row`` of part ``number`` for each place (number, row); only the pages of these rows are read."""
    out = parts[0].new_empty((len(places), *parts[0].shape[1:]))
    rows, views = out.numpy(), {number: parts[number].numpy() for number in {number for number, _ in places}}
    for i, (number, row) in enumerate(places):
        rows[i] = views[number][row]  # numpy, because torch takes longer to find a row than to copy it
    return out


def write_pairs(folder: str | Path, make: Callable[[int, int], Batch], plan: PairsPlan) -> Iterator[tuple[int, int]]:
    """Write the pairs of ``plan``; yields pairs done and pairs in all, at the start and after each file.

    ``make(start, stop)`` returns pairs start to stop (exclusive) with their ``z``, and with their ``path`` when the
    plan has ``times``; it must always return the same.
    It can be stopped at any moment and called again: finished files are kept, whatever is missing or damaged is
    written, and a larger ``count`` extends the store. The result then equals an uninterrupted run.

    Raises ``DataError`` at once when the folder holds pairs made with something else or more pairs than ``count``,
    and later when ``make`` returns something not finite or of another form.
    """
    root = Path(folder)
    before = read_index(root)
    if before is not None:
        _refuse_other_store(root, before.plan, plan)
    return _write_missing(root, make, before, plan)


def _refuse_other_store(root: Path, before: PairsPlan, plan: PairsPlan) -> None:
    """Raise when the pairs in ``root`` are others than those that are to be written."""
    stored = before.settings
    changed = differences(stored, dict.fromkeys(stored, "nothing") | plan.settings)
    if changed:
        raise DataError(
            f"{str(root)!r} already holds pairs made with something else: {changed}. Continue with the same settings, "
            "give another folder, or delete this one."
        )
    if before.count > plan.count:
        raise DataError(
            f"{str(root)!r} already holds a store of {before.count:,} pairs, more than the {plan.count:,} asked for. "
            "Ask for at least as many, give another folder, or delete this one."
        )


def _write_missing(
    root: Path, make: Callable[[int, int], Batch], before: PairsIndex | None, plan: PairsPlan
) -> Iterator[tuple[int, int]]:
    """Write the shards of the plan that are not there; the index never promises a shard before it is."""
    root.mkdir(parents=True, exist_ok=True)
    sizes, index = plan.sizes, before
    missing = [number for number, size in enumerate(sizes) if before is None or not _kept(root, before, number, size)]
    for number, following in zip(missing, [*missing[1:], len(sizes)], strict=False):
        start = number * plan.shard
        if index is not None:
            write_index(root, index.up_to(number, plan))
        yield start, plan.count
        began = time.perf_counter()
        batch = make(start, start + sizes[number])
        index = (index or PairsIndex.shaped(plan, batch)).up_to(number, plan)
        index = replace(index, seconds=round(index.seconds + time.perf_counter() - began, 1))
        write_shard(root, index, number, batch)
        write_index(root, index.up_to(following, plan))
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
