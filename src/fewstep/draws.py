"""Where random numbers come from: named seeds, one stream per turn in training, one per item in sampling."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b

import torch
from torch import Tensor

from fewstep.types import T, X

__all__ = ["Draws", "dropout_from", "item_noise", "seed_for"]


def seed_for(*parts: int | str) -> int:
    """Mix numbers and names into one 63-bit seed; the same parts give the same seed on every machine."""
    digest = blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def item_noise(seeds: Sequence[int], shape: Sequence[int], steps: int = 1) -> Tensor:
    """Return standard normal noise (steps, items, *shape), each item from its own seed alone.

    Drawn on the CPU in float32, so item 17 is the same for every batch size and on every device; one step after the
    other, so the first is the same however many follow.
    """
    generator, out = torch.Generator(), torch.empty(len(seeds), steps, *shape)
    places = out.flatten(0, 1).unbind()
    for i, seed in enumerate(seeds):
        generator.manual_seed(seed)
        for place in places[i * steps : (i + 1) * steps]:
            place.normal_(generator=generator)
    return out.transpose(0, 1)


@contextmanager
def dropout_from(seed: int, device: torch.device) -> Iterator[None]:
    """Let torch's global generator, which dropout uses, start from ``seed`` inside; put it back afterwards.

    Two blocks with one seed draw the same masks.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        if device.type == "cpu":  # for other devices torch notes the call stack each time, which takes milliseconds
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)
        yield


class Draws:
    """The random numbers of one turn.

    Every draw is made for the whole batch of all processes and all pieces, and cut to the items ``offset`` ...
    that are here: how a batch is shared among processes or accumulation steps does not change the training.
    """

    def __init__(self, seed: int, device: torch.device, offset: int = 0, total: int | None = None) -> None:
        self._generator = torch.Generator(device).manual_seed(seed)
        self._seed = seed
        self._device, self._offset, self._total = device, offset, total

    def normal(self, like: X) -> X:
        """Return standard normal numbers of the shape and precision of ``like``."""
        count = self._count(len(like))
        whole = torch.randn((count, *like.shape[1:]), generator=self._generator, device=self._device, dtype=like.dtype)
        return whole[self._offset : self._offset + len(like)]

    def uniform(self, items: int) -> T:
        """Return one float64 number per item in the open interval (0, 1)."""
        whole = torch.rand(self._count(items), generator=self._generator, device=self._device, dtype=torch.float64)
        return whole[self._offset : self._offset + items].clamp(1e-12, 1 - 1e-12)

    def integer(self, high: int) -> int:
        """Return one number in {0, ..., high - 1}, the same for all items and all processes."""
        return int(torch.randint(high, (), generator=self._generator, device=self._device))

    def seed(self, name: str) -> int:
        """Return a seed of that name, above 0: the same however often and whatever else is drawn in the turn."""
        return seed_for(self._seed, name) | 1

    def _count(self, items: int) -> int:
        return items if self._total is None else self._total
