"""What can be seen of a run from outside: how far it is, how it does, and why it stopped."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

from fewstep.errors import WeightsError
from fewstep.jobs.live import Life, read_life
from fewstep.jobs.origin import illness_of
from fewstep.jobs.record import LOOK, holds_run, numbers_of, read_log, single_conditions

__all__ = ["Seen", "Series", "State", "direction", "see", "sparkline"]

BARS = "▁▂▃▄▅▆▇█"
GOOD: tuple[tuple[str, str], ...] = (  # what a name holds (the first counts) -> where it is good: down, or a number
    ("look: score", "down"),
    ("look: frechet", "down"),
    ("look: wrong", "down"),
    ("colour drift", "down"),
    ("deviation", "1"),
    ("distance between", "1"),
    ("distance to the teacher", "down"),
    ("critic accuracy", "0.5"),
    ("critic ratio", "1"),
    ("critic gap", "down"),
    ("density ratio", "1"),
    ("clamped share", "down"),
    ("effective size", "1"),
    (": Denoise", "down"),
    (": Regress", "down"),
    (": Reconstruct", "down"),
)


@dataclass(frozen=True)
class Series:
    """The logged values of one name, and where they are good: "down", near a number, or "" (says nothing)."""

    name: str
    values: Sequence[float]
    good: str

    @property
    def arrow(self) -> str:
        """The direction that is good, in a sign."""
        return {"down": "↓", "": " "}.get(self.good, f"→{self.good}")


class State(StrEnum):
    """What a run is doing, in words."""

    WAITING = "not training yet"
    TRAINING = "training"
    FINISHED = "finished"
    ILL = "stopped by a monitor"
    INTERRUPTED = "interrupted"
    SILENT = "interrupted, or silent for long"


@dataclass(frozen=True)
class Seen:
    """One run: its state, its last sign of life, its looks by step, its series, and a monitor's diagnosis.

    ``conditions`` are, by step, what a look says of every single condition: the distance between its seeds.
    """

    name: str
    state: State
    life: Life | None
    looks: Mapping[int, Mapping[str, float]]
    conditions: Mapping[int, Mapping[str, float]]
    series: Sequence[Series]
    diagnosis: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.state is not State.TRAINING


def see(root: Path) -> Seen:
    """Look at the folder of a run, of its first stage while there is nothing else.

    Raises ``WeightsError`` when no run was ever begun there.
    """
    if not (root / "plan.json").is_file() and (root / "begin").is_dir():
        root = root / "begin"
    if not holds_run(root) and not (root / "plan.json").is_file():
        raise WeightsError(
            f"{root} holds no run. Give the --out folder of `fewstep train` or `fewstep distill`, as soon as one of "
            "them has begun."
        )
    log, life = read_log(root), read_life(root)
    found = [line for line in log if "look: score" in line]
    looks = {line["step"]: {name.removeprefix(LOOK): v for name, v in numbers_of(line).items()} for line in found}
    apart = {line["step"]: single_conditions(line) for line in found}
    state = _state(root, life)
    diagnosis = (illness_of(root) or "") if state is State.ILL else ""
    return Seen(root.name, state, life, looks, apart, _series(log), diagnosis)


def direction(name: str) -> str:
    """Return where the values of a name are good; empty for those that say nothing by themselves."""
    return next((good for part, good in GOOD if part in name), "")


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """Draw values as a row of bars, the last ones at the right: means of equal shares, from their least to their most.

    >>> sparkline([0.0, 1.0, 2.0, 3.0], width=4)
    '▁▃▅█'
    """
    if not values:
        return ""
    shares = min(width, len(values))
    edges = [i * len(values) // shares for i in range(shares + 1)]
    parts = [[v for v in values[start:stop] if math.isfinite(v)] for start, stop in pairwise(edges)]
    means = [sum(part) / len(part) if part else math.nan for part in parts]
    known = [mean for mean in means if math.isfinite(mean)]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    return "".join(_bar(mean, low, high) for mean in means)


def _bar(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return "!"
    return BARS[0 if high <= low else int((value - low) / (high - low) * (len(BARS) - 1))]


def _state(root: Path, life: Life | None) -> State:
    if (root / "run.json").is_file():
        return State.FINISHED
    if life is not None and life.alive:
        return State.TRAINING
    if illness_of(root) is not None:
        return State.ILL
    if life is None:
        return State.INTERRUPTED if holds_run(root) else State.WAITING
    return State.INTERRUPTED if life.ended else State.SILENT


def _series(log: Sequence[Mapping[str, Any]]) -> list[Series]:
    """Collect the numbers by name, those of single conditions left out."""
    found: dict[str, list[float]] = {}
    for line in log:
        for name, value in numbers_of(line).items():
            found.setdefault(name, []).append(float(value))
    return [Series(name, values, direction(name)) for name, values in found.items()]
