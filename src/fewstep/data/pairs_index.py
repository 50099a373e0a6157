"""``index.json`` of a store of pairs: what the shards beside it must hold, and what they were made with."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fewstep.errors import DataError
from fewstep.files import write_whole

__all__ = ["PairsIndex", "differences", "planned_sizes", "read_index", "shard_name", "write_index"]

FORMAT_VERSION = 1
INDEX = "index.json"


@dataclass(frozen=True)
class PairsIndex:
    """What is promised of a store.

    ``count`` pairs in all, ``shard`` pairs per shard (fewer in the last), ``sizes`` of the shards that are finished,
    ``shape`` of one item, ``condition`` shape of one condition (() for a label) or None, ``classes`` their names,
    ``made_with`` teacher, solver, steps, guidance, start time, seed, whatever decides the numbers.
    """

    count: int
    shard: int
    sizes: tuple[int, ...]
    shape: tuple[int, ...]
    condition: tuple[int, ...] | None
    classes: tuple[str, ...]
    made_with: dict[str, str]

    @property
    def done(self) -> int:
        """Count the pairs that are finished."""
        return sum(self.sizes)

    @property
    def conditioned_on(self) -> str:
        """Say what the pairs are conditioned on."""
        if self.condition is None:
            return "none"
        return (
            f"embeddings of shape {self.condition}" if self.condition else f"{len(self.classes) or 'unnamed'} classes"
        )

    def tensors(self, number: int) -> dict[str, str]:
        """Say what shard ``number`` holds: "float32 (100, 1, 8, 8)" under the name of each tensor."""
        size = planned_sizes(self.count, self.shard)[number]
        pair = f"float32 {(size, *self.shape)}"
        if self.condition is None:
            return {"x0": pair, "z": pair}
        return {"x0": pair, "z": pair, "c": f"{'float32' if self.condition else 'int64'} {(size, *self.condition)}"}


def planned_sizes(count: int, shard: int) -> tuple[int, ...]:
    """Return the sizes of the shards that ``count`` pairs fill."""
    return tuple(min(shard, count - start) for start in range(0, count, shard))


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
        if version == FORMAT_VERSION:
            return _parsed(stored)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{file} is no index of pairs or is damaged ({type(error).__name__}: {error}). Give the folder of a store "
            "of pairs; if this was one, move it away and run write_pairs again."
        ) from error
    raise DataError(
        f"{file} has format_version {version!r}, but this version of fewstep reads {FORMAT_VERSION}. "
        "Use the version of fewstep that wrote it, or write the pairs again into another folder."
    )


def _parsed(stored: dict[str, Any]) -> PairsIndex:
    """Build the index from JSON. Raises ``KeyError``, ``TypeError`` or ``ValueError`` when it is not one."""
    condition = stored["condition"]
    index = PairsIndex(
        count=int(stored["count"]),
        shard=int(stored["shard"]),
        sizes=tuple(int(size) for size in stored["sizes"]),
        shape=tuple(int(length) for length in stored["shape"]),
        condition=None if condition is None else tuple(int(length) for length in condition),
        classes=tuple(str(name) for name in stored["classes"]),
        made_with={str(key): str(value) for key, value in stored["made_with"].items()},
    )
    if index.sizes != planned_sizes(index.count, index.shard)[: len(index.sizes)]:
        raise ValueError(f"shards of {index.sizes} do not make {index.count} pairs by {index.shard}")
    return index


def write_index(root: Path, index: PairsIndex) -> None:
    """Replace the index in ``root`` in one step."""
    text = json.dumps({"format_version": FORMAT_VERSION, **asdict(index)}, indent=1)
    write_whole(root / INDEX, text.encode())


def differences(stored: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """Say where ``stored`` is not as ``wanted``; empty when it is."""
    return "; ".join(
        f"{key} is {stored.get(key, 'not recorded')!r}, asked for is {value!r}"
        for key, value in wanted.items()
        if stored.get(key) != value
    )
