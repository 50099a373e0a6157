"""One line of a results table, and files of such lines."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from fewstep.errors import DataError
from fewstep.files import write_whole

__all__ = ["Row", "read_rows", "write_rows"]


@dataclass(frozen=True)
class Row:
    """What was measured of one model at one number of steps; ``None`` stands for what was not or cannot be measured.

    ``model`` is ``real`` (the floor: real data against real data), ``teacher``, ``student`` or the name of a run.
    ``calls`` counts network calls per image, ``diversity`` is ``spread``, ``samples`` the images behind the numbers.
    ``loudness_error`` is that of sounds, in dB on average.
    """

    model: str
    steps: int | None
    calls: int | None
    frechet: float | None
    kernel: float | None
    precision: float | None
    recall: float | None
    diversity: float | None
    accuracy: float | None
    seconds_per_image: float | None
    samples: int
    vendi: float | None = None
    label: str = ""
    loudness_error: float | None = None


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write rows as a JSON list, whole or not at all; raises ``DataError`` for a number that JSON does not know."""
    try:
        text = json.dumps([asdict(row) for row in rows], indent=2, allow_nan=False, ensure_ascii=False)
    except ValueError as error:
        raise DataError(
            f"A row holds a number that is not finite; use None for what cannot be measured: {rows}"
        ) from error
    write_whole(path, (text + "\n").encode())


def read_rows(path: Path) -> list[Row]:
    """Read what ``write_rows`` wrote; raises ``DataError`` when the file is missing or holds anything else."""
    try:
        return [Row(**fields) for fields in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} is no list of measured rows as write_rows writes it: {error}") from error
