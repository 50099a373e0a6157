"""Decode every image of a folder once: what is broken shows before training starts, not in its tenth hour."""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from fewstep.data.decode import Unusable, decode, short_side

__all__ = ["Fact", "Progress", "Survey", "common_side", "crew", "survey"]

A = TypeVar("A")
B = TypeVar("B")
Progress = Callable[[int, int], None]  # called with images done and images in all
CHUNK = 1024  # images handed to the threads at once, so that a million do not become a million waiting jobs


@dataclass(frozen=True)
class Fact:
    """What decoding one image told: short side, whether it was transparent, SHA-256 of the pixels; or why it failed."""

    side: int = 0
    transparent: bool = False
    digest: bytes = b""
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Survey:
    """One fact per image, and the pixels of the good ones in order, or None when there was no room for them."""

    facts: tuple[Fact, ...]
    pixels: UInt8[Tensor, "items channels size size"] | None

    @property
    def good(self) -> tuple[int, ...]:
        """The numbers of the images that can be used."""
        return tuple(number for number, fact in enumerate(self.facts) if not fact.reason)


def crew() -> ThreadPoolExecutor:
    """Start threads that decode; Pillow releases the interpreter while it does."""
    return ThreadPoolExecutor(min(16, os.cpu_count() or 1), thread_name_prefix="fewstep-decode")


def common_side(paths: Sequence[Path]) -> int:
    """Return the most frequent short side, the larger of equals; 1 when no header is readable (decoding says so)."""
    with crew() as pool, _bombs_are_errors():
        sides = Counter(side for side in _chunked(pool, _side_or_zero, paths) if side)
    return max(sides, key=lambda side: (sides[side], side), default=1)


def survey(paths: Sequence[Path], size: int, channels: int, *, keep: bool, progress: Progress | None) -> Survey:
    """Decode all ``paths``; ``keep`` says whether the pixels stay in memory."""
    pixels = torch.empty(len(paths), channels, size, size, dtype=torch.uint8) if keep else None

    def look(number: int) -> Fact:
        try:
            picture = decode(paths[number], size, channels)
        except Unusable as error:
            return Fact(reason=str(error))
        if pixels is not None:
            pixels[number] = picture.pixels
        return Fact(picture.side, picture.transparent, sha256(picture.pixels.numpy().tobytes()).digest())

    facts: list[Fact] = []
    with crew() as pool, _bombs_are_errors():
        for fact in _chunked(pool, look, range(len(paths))):
            facts.append(fact)
            if progress is not None:
                progress(len(facts), len(paths))
    return Survey(tuple(facts), None if pixels is None else _only_good(pixels, facts))


@contextmanager
def _bombs_are_errors() -> Iterator[None]:
    """Make an image of more than 89 million pixels, of which Pillow only warns, a bad file.

    Its other warnings (broken EXIF, say) do not concern the pixels. Filters of warnings are global, so this is entered
    by the thread that opens the folder and not by those that decode.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _chunked(pool: ThreadPoolExecutor, job: Callable[[A], B], items: Sequence[A]) -> Iterator[B]:
    """Do ``pool.map`` with a bounded queue; results come in the order of the items."""
    for start in range(0, len(items), CHUNK):
        yield from pool.map(job, items[start : start + CHUNK])


def _side_or_zero(path: Path) -> int:
    """Return the short side, or 0 when the header is broken."""
    try:
        return short_side(path)
    except Unusable:
        return 0


def _only_good(pixels: Tensor, facts: Sequence[Fact]) -> Tensor:
    """Close the gaps that bad images left, in place because the tensor may fill half of the memory."""
    good = [number for number, fact in enumerate(facts) if not fact.reason]
    for place, number in enumerate(good):
        if place != number:
            pixels[place] = pixels[number]
    return pixels[: len(good)]
