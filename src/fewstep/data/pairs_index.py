"""``index.json`` of a store of pairs: what the shards beside it must hold, and what they were made with."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from fewstep.batch import Batch
from fewstep.errors import DataError, RecipeError
from fewstep.files import write_whole

__all__ = ["PairsIndex", "PairsPlan", "differences", "read_index", "shard_name", "write_index"]

FORMAT_VERSION = 2  # 2 added the times of a path; in 1 there is none
READABLE = (1, 2)
INDEX = "index.json"


@dataclass(frozen=True)
class PairsPlan:
    """What a store is to hold: ``count`` pairs, ``shard`` of them a file (fewer in the last).

    ``made_with`` teacher, solver, steps, guidance, start time, seed, whatever decides the numbers; ``classes`` the
    names of the labels; ``times`` of the states of each path, falling, without the end at 0; () to keep no path.

    Raises ``RecipeError`` for numbers below 1 and for times that do not fall or are not above 0.
    """

    count: int
    shard: int
    made_with: dict[str, str]
    classes: tuple[str, ...] = ()
    times: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.count < 1 or self.shard < 1:
            raise RecipeError(
                f"{self.count} pairs in files of {self.shard} were asked for. Accepted: at least 1 of each."
            )
        if not all(t > s for t, s in pairwise([math.inf, *self.times, 0.0])):
            raise RecipeError(
                f"The times of a path are {list(self.times)}; accepted are times that fall from the noisiest to the "
                "cleanest, all above 0 (the end, 0, is x0 itself). Give such times, or none to keep no path."
            )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Return how many pairs each shard holds."""
        return tuple(min(self.shard, self.count - start) for start in range(0, self.count, self.shard))

    @property
    def facts(self) -> dict[str, str]:
        """Return ``made_with``, and the exact times under ``path`` when a path is kept."""
        path = ", ".join(map(repr, self.times))
        return {**self.made_with, **({"path": f"{len(self.times)} states at {path}"} if self.times else {})}

    @property
    def settings(self) -> dict[str, str]:
        """Return everything that a store and its continuation must have in common."""
        return {"pairs per file": str(self.shard), "classes": ", ".join(self.classes), **self.facts}


@dataclass(frozen=True)
class PairsIndex:
    """What is promised of a store: the ``plan`` it is made by, and how far it is.

    ``sizes`` of the shards that are finished, ``shape`` of one item, ``condition`` shape of one condition (() for a
    label) or None, ``seconds`` that the teacher took for them.
    """

    plan: PairsPlan
    sizes: tuple[int, ...]
    shape: tuple[int, ...]
    condition: tuple[int, ...] | None
    seconds: float = 0.0

    @classmethod
    def shaped(cls, plan: PairsPlan, first: Batch) -> "PairsIndex":
        """Return the index of a store with nothing finished, of the shapes of its first batch."""
        return cls(plan, (), tuple(first.x0.shape[1:]), None if first.c is None else tuple(first.c.shape[1:]))

    @property
    def done(self) -> int:
        """Count the pairs that are finished."""
        return sum(self.sizes)

    @property
    def conditioned_on(self) -> str:
        """Say what the pairs are conditioned on."""
        if self.condition is None:
            return "none"
        classes = f"{len(self.plan.classes) or 'unnamed'} classes"
        return f"embeddings of shape {self.condition}" if self.condition else classes

    @property
    def keeps(self) -> str:
        """Say which states between noise and end are kept."""
        times = self.plan.times
        return f"{len(times)} states from time {times[0]:.6g} to {times[-1]:.6g}" if times else "none"

    def tensors(self, number: int) -> dict[str, str]:
        """Say what shard ``number`` holds: "float32 (100, 1, 8, 8)" under the name of each tensor."""
        size = self.plan.sizes[number]
        promised = dict.fromkeys(("x0", "z"), f"float32 {(size, *self.shape)}")
        if self.condition is not None:
            promised["c"] = f"{'float32' if self.condition else 'int64'} {(size, *self.condition)}"
        if self.plan.times:
            promised["path"] = f"float32 {(size, len(self.plan.times), *self.shape)}"
        return promised

    def up_to(self, shards: int, plan: PairsPlan) -> "PairsIndex":
        """Return the index of the same pairs when the first ``shards`` of ``plan`` are finished."""
        return replace(self, plan=plan, sizes=plan.sizes[:shards])


def shard_name(number: int) -> str:
    """Return ``pairs-00000.safetensors`` and following."""
    return f"pairs-{number:05d}.safetensors"


def read_index(root: Path) -> PairsIndex | None:
    """Read the index in ``root``; None when there is none. Raises ``DataError`` when it is damaged."""
    file = root / INDEX
    if not file.is_file():
        return None
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        version = stored.pop("format_version")
        if version in READABLE:
            return _parsed(stored)
    except (KeyError, TypeError, ValueError, AttributeError, RecipeError) as error:
        raise DataError(
            f"{file} is no index of pairs or is damaged ({type(error).__name__}: {error}). Give the folder of a store "
            "of pairs; if this was one, move it away and run write_pairs again."
        ) from error
    raise DataError(
        f"{file} has format_version {version!r}, but this version of fewstep reads {' and '.join(map(str, READABLE))}. "
        "Use the version of fewstep that wrote it, or write the pairs again into another folder."
    )


def _parsed(stored: dict[str, Any]) -> PairsIndex:
    """Build the index from JSON. Raises ``RecipeError`` or one of Python's own when it is not one."""
    condition, times = stored["condition"], tuple(float(time) for time in stored.get("times", ()))
    plan = PairsPlan(
        count=int(stored["count"]),
        shard=int(stored["shard"]),
        made_with={str(key): str(value) for key, value in stored["made_with"].items()},
        classes=tuple(str(name) for name in stored["classes"]),
        times=times,
    )
    index = PairsIndex(
        plan,
        sizes=tuple(int(size) for size in stored["sizes"]),
        shape=tuple(int(length) for length in stored["shape"]),
        condition=None if condition is None else tuple(int(length) for length in condition),
        seconds=float(stored.get("seconds", 0.0)),
    )
    if index.sizes != plan.sizes[: len(index.sizes)]:
        raise ValueError(f"shards of {index.sizes} do not make {plan.count} pairs by {plan.shard}")
    if (states := stored.get("states", 0)) != len(times):
        raise ValueError(f"{states} states are promised, but there are {len(times)} times")
    return index


def write_index(root: Path, index: PairsIndex) -> None:
    """Replace the index in ``root`` in one step."""
    whole = asdict(index)
    stored = {"format_version": FORMAT_VERSION, **whole.pop("plan"), "states": len(index.plan.times), **whole}
    write_whole(root / INDEX, json.dumps(stored, indent=1).encode())


def differences(stored: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """Say where ``stored`` is not as ``wanted``; empty when it is."""
    return "; ".join(
        f"{key} is {stored.get(key, 'not recorded')!r}, asked for is {value!r}"
        for key, value in wanted.items()
        if stored.get(key) != value
    )
