"""Results of the bench: what a recipe reached over several seeds, one line per number of calls; their file."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, stdev

from fewstep.errors import DataError
from fewstep.files import write_whole

__all__ = [
    "REAL",
    "TEACHER",
    "Result",
    "Trial",
    "best_of",
    "full",
    "merged",
    "over_seeds",
    "read_results",
    "write_results",
]

REAL, TEACHER = "real", "teacher"  # the lines that are no recipe: the floor, and what every recipe is compared with
DIGITS = 6  # after the point; the spread is in the third


@dataclass(frozen=True)
class Result:
    """What a recipe reached on ``data`` with so many network ``calls`` per item.

    ``frechet`` is the mean over ``seeds``, ``spread`` their standard deviation (with n - 1; None for one seed),
    ``ratio_to_teacher`` the mean over the distance of the teacher with all its calls.  ``updates`` are those of the
    student, ``train_seconds`` the mean time that they took with the looks at samples between, ``pair_seconds`` what the
    teacher took before to make stored pairs, once for all seeds.  ``commit`` ends in "+" when the package differed from
    it.  ``recall`` is the mean share of real items that lie among the generated ones (None: not kept).  The line
    ``real`` is the floor: real data against real data.
    """

    data: str
    recipe: str
    calls: int | None
    frechet: float
    spread: float | None
    ratio_to_teacher: float | None
    updates: int | None
    train_seconds: float | None
    seeds: int
    commit: str | None
    hardware: str
    pair_seconds: float | None = None
    recall: float | None = None


@dataclass(frozen=True)
class Trial:
    """One trained model as measured: Frechet distances and recall by calls, and what it took."""

    frechet: Mapping[int, float]
    updates: int
    seconds: float
    commit: str | None
    hardware: str
    pair_seconds: float = 0.0
    recall: Mapping[int, float] = field(default_factory=dict)


def over_seeds(data: str, recipe: str, trials: Sequence[Trial], teacher: float) -> list[Result]:
    """Return a line per number of calls; ``teacher`` is the distance of the teacher with all its calls."""
    seconds = round(mean(trial.seconds for trial in trials), 1)
    commits = sorted({trial.commit for trial in trials if trial.commit})
    hardware = "; ".join(sorted({trial.hardware for trial in trials}))
    lines = []
    for calls in sorted({calls for trial in trials for calls in trial.frechet}):
        found = [trial.frechet[calls] for trial in trials if calls in trial.frechet]
        recall = [trial.recall[calls] for trial in trials if calls in trial.recall]
        lines.append(
            Result(
                data=data,
                recipe=recipe,
                calls=calls,
                frechet=round(mean(found), DIGITS),
                spread=round(stdev(found), DIGITS) if len(found) > 1 else None,
                ratio_to_teacher=round(mean(found) / teacher, 3),
                updates=trials[0].updates,
                train_seconds=seconds,
                seeds=len(found),
                commit=", ".join(commits) or None,
                hardware=hardware,
                pair_seconds=round(mean(trial.pair_seconds for trial in trials), 1),
                recall=round(mean(recall), DIGITS) if recall else None,
            )
        )
    return lines


def merged(old: Iterable[Result], new: Sequence[Result]) -> list[Result]:
    """Return the new lines and those old ones whose recipe has no new line on the same data.

    Sorted by data and recipe, the floor and the teacher first.
    """
    replaced = {(line.data, line.recipe) for line in new}
    return sorted([line for line in old if (line.data, line.recipe) not in replaced] + list(new), key=_place)


def _place(line: Result) -> tuple[str, int, str, int]:
    first = [REAL, TEACHER].index(line.recipe) if line.recipe in (REAL, TEACHER) else 2
    return line.data, first, line.recipe, line.calls or 0


def best_of(lines: Iterable[Result]) -> Result:
    """Return the line with the lowest distance; of equals, the one with the fewest calls."""
    return min(lines, key=lambda line: (line.frechet, line.calls or 0))


def full(lines: Iterable[Result]) -> Result:
    """Return the line of the teacher with all its calls.  Raises ``DataError`` when there is none."""
    found = [line for line in lines if line.recipe == TEACHER]
    if not found:
        raise DataError("The results hold no line of the teacher; run `fewstep bench` again, it measures it.")
    return max(found, key=lambda line: line.calls or 0)


def write_results(path: Path, lines: Sequence[Result]) -> None:
    """Write a JSON list, one line of text per result; raises ``DataError`` for a number that is not finite."""
    try:
        texts = [json.dumps(asdict(line), allow_nan=False, ensure_ascii=False) for line in lines]
    except ValueError as error:
        raise DataError(f"A result is not finite: {error}. Train with another seed or remove the recipe.") from error
    write_whole(path, ("[\n" + ",\n".join(texts) + "\n]\n").encode())


def read_results(path: Path) -> list[Result]:
    """Read what ``write_results`` wrote, none when there is no file; raises ``DataError`` for anything else."""
    if not path.is_file():
        return []
    try:
        return [Result(**fields) for fields in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"{path} is no list of results as `fewstep bench` writes it ({error}). Restore or remove the file."
        ) from error
