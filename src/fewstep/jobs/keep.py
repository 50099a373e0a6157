"""Rows that were measured once: kept beside the model, for as long as it has the same weights."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fewstep.errors import DataError
from fewstep.evaluate import Judge, Row
from fewstep.files import write_whole
from fewstep.jobs.measure import measure
from fewstep.model import Model
from fewstep.store import fingerprint
from fewstep.versions import commit

__all__ = ["Kept", "Yardstick", "measured_once"]

FILE = "measured.json"


@dataclass(frozen=True)
class Yardstick:
    """What all models are measured with: a judge, what real data get, and how many samples (None: as many as real)."""

    judge: Judge
    floor: Row
    samples: int | None = None


@dataclass(frozen=True)
class Kept:
    """Rows by network calls, and the commit at which the first one was measured."""

    rows: dict[int, Row]
    commit: str | None


def measured_once(folder: Path, jobs: Sequence[tuple[Model, int]], by: Yardstick) -> Kept:
    """Return a row for each (model, number of steps), models of the same weights; what the folder knows is not
    measured again.

    Rows of other weights, another number of samples or another judge (whose floor is another one) are dropped.
    Raises ``DataError`` when the file cannot be read.
    """
    known: dict[str, object] = {
        "model": fingerprint(jobs[0][0]),
        "samples": by.samples,
        "floor": f"{by.floor.frechet:.5g}",
    }
    kept = _read(folder / FILE, known)
    for model, steps in jobs:
        if model.calls(steps) not in kept.rows:
            (row,) = measure(model, by.judge, name=folder.name, steps=[steps], samples=by.samples)
            kept.rows[model.calls(steps)] = row
            words = known | {"commit": kept.commit, "rows": [asdict(row) for row in kept.rows.values()]}
            write_whole(folder / FILE, (json.dumps(words, indent=1) + "\n").encode())
    return kept


def _read(path: Path, known: dict[str, object]) -> Kept:
    if not path.is_file():
        return Kept({}, commit())
    try:
        words = json.loads(path.read_text(encoding="utf-8"))
        if {name: words[name] for name in known} != known:
            return Kept({}, commit())
        return Kept({row["calls"]: Row(**row) for row in words["rows"]}, words["commit"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error!r}). Remove it, and the model is measured again.") from error
