"""An endless stream of batches in which step k depends on the seed and on k alone."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache, partial
from hashlib import sha256
from itertools import count

import torch
from torch import Tensor

from fewstep.batch import Batch
from fewstep.data.base import Data
from fewstep.errors import DataError, RecipeError

__all__ = ["batches"]

AHEAD = 2  # batches decoded before they are asked for: one in use by the decoder, one ready


def batches(data: Data, size: int, *, seed: int, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[Batch]:
    """Yield batches of ``size`` items without end, from step ``start`` on, for process ``rank`` of ``world``.

    Every epoch is a permutation drawn from (seed, epoch), epochs are laid end to end, and step k of process r takes
    the positions ``(k * world + r) * size`` and following. So starting at k equals skipping k batches, two processes
    of ``size`` see what one of ``2 * size`` sees, and every epoch shows each item once. A batch may straddle epochs.

    Raises ``DataError`` when the data are empty and ``RecipeError`` when a number is out of range, both at once.
    Lazy data are decoded two batches ahead in one thread; what goes wrong there is raised here; ``close()`` ends it.
    """
    if len(data) == 0:
        raise DataError(f"{data.name!r} holds no items, so no batch can be drawn. Give data with at least one item.")
    if size < 1 or start < 0 or not 0 <= rank < world:
        raise RecipeError(
            f"No batches of {size} items from step {start} for process {rank} of {world}. "
            "Accepted: size at least 1, start at least 0, rank from 0 to world - 1."
        )
    chosen = _indices(len(data), size, seed, (start * world + rank) * size, world)
    return _ahead(data, chosen) if data.lazy else (data.batch(indices) for indices in chosen)


def epoch_order(items: int, seed: int, epoch: int) -> Tensor:
    """Return the permutation of 0..items-1 that belongs to (seed, epoch)."""
    mixed = sha256(f"{seed}/{epoch}".encode()).digest()[:8]  # neighbouring seeds and epochs share nothing
    generator = torch.Generator().manual_seed(int.from_bytes(mixed, "little") >> 1)
    return torch.randperm(items, generator=generator)


def _indices(items: int, size: int, seed: int, first: int, world: int) -> Iterator[list[int]]:
    """Yield the items of each step of one process, whose first position is ``first``."""
    order = lru_cache(maxsize=2)(partial(epoch_order, items, seed))
    for here in count(first, size * world):
        yield _taken(order, items, here, here + size)


def _taken(order: Callable[[int], Tensor], items: int, start: int, stop: int) -> list[int]:
    """Return positions ``start`` to ``stop`` (exclusive) of the epochs laid end to end."""
    chosen: list[int] = []
    while start + len(chosen) < stop:
        epoch, place = divmod(start + len(chosen), items)
        chosen += order(epoch)[place : place + stop - start - len(chosen)].tolist()
    return chosen


def _ahead(data: Data, chosen: Iterator[Sequence[int]]) -> Iterator[Batch]:
    """Decode in one thread, ``AHEAD`` batches before they are asked for."""
    waiting: deque[Future[Batch]] = deque()
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fewstep-data")
    try:
        for indices in chosen:
            waiting.append(pool.submit(data.batch, indices))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
