"""What a run writes down: its plan, its log, its checkpoints and which weights were best."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fewstep.data import Data
from fewstep.errors import RecipeError, WeightsError
from fewstep.files import append_line, write_whole
from fewstep.jobs.board import Board
from fewstep.model import Model
from fewstep.recipes import Recipe, spell
from fewstep.store import fingerprint
from fewstep.training import Report, Training, checkpoints, restore, save_training
from fewstep.training.collapse import SINGLE

__all__ = ["LOOK", "Record", "holds_run", "numbers_of", "read_log", "single_conditions"]

LOG = "log.jsonl"
LOOK = "look: "  # what the names of a look begin with
ONE = f"{LOOK}{SINGLE}"  # and those of single conditions
MADE = ("run.json", "checkpoints", "pairs")  # what a run has made; a plan alone is none


@dataclass
class Record:
    """The folder of a run while it is made.

    ``plan.json`` says what is being run; ``log.jsonl`` has a line per logged turn and per look; ``checkpoints`` holds
    the newest two states, ``best.safetensors`` the best weights so far.  Lines go to the disk as they come when this
    process ``writes``, and to a ``board`` if there is one; whoever resumes drops those after the checkpoint.
    """

    root: Path
    plan: Mapping[str, Any]
    best: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    writes: bool = True
    board: Board | None = None
    _lines: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def open(cls, root: Path, recipe: Recipe, name: str, data: Data, seed: int, teacher: Model | None) -> "Record":
        """Begin or continue a run in ``root``; raise ``RecipeError`` when the folder holds another one.

        A setting that did not exist when the run was begun is no difference where it has its default.
        """
        rest = {
            "recipe": name,
            "data": {"name": data.name, "fingerprint": data.fingerprint()},
            "seed": seed,
            "teacher": None if teacher is None else fingerprint(teacher),
        }
        plan, chosen = (json.loads(json.dumps(rest | {"settings": spell(recipe, every)})) for every in (True, False))
        path = root / "plan.json"
        if holds_run(root):
            _refuse_other(root, _read(path) if path.is_file() else {}, plan, chosen)
        write_whole(path, (json.dumps(plan, indent=1) + "\n").encode())
        return cls(root, plan)

    @property
    def finished(self) -> bool:
        """Whether the folder holds the finished model of this plan."""
        return (self.root / "run.json").is_file()

    @property
    def checkpoints(self) -> Path:
        """Where the states of the training are."""
        return self.root / "checkpoints"

    @property
    def best_weights(self) -> Path:
        """The weights with the lowest score so far."""
        return self.root / "best.safetensors"

    def resume(self, training: Training) -> None:
        """Bring the training to the newest checkpoint, if there is one, and the log with it."""
        for found in checkpoints(self.checkpoints)[-1:]:
            extra = restore(training, found)
            self.best, self.seconds = extra["best"], extra["seconds"]
            self._lines = [line for line in read_log(self.root) if _before(line, training.step)]
        if self.writes:
            self._write_log()
        for line in self._lines:
            self._show(line)

    def save(self, training: Training) -> None:
        """Write the log and a checkpoint."""
        self._write_log()
        if self.board is not None:
            self.board.flush()
        save_training(training, self.checkpoints, {"best": self.best, "seconds": self.seconds})

    def log(self, report: Report) -> None:
        """Keep the numbers of one turn."""
        costs = {f"{report.learner}: {name}": float(cost) for name, cost in report.costs.items()}
        notes = {f"{report.learner}: {name}": value for name, value in report.notes.items()}
        norm = {f"{report.learner}: gradient norm": float(report.norm)}
        self._add({"step": report.step, **costs, **norm, **notes})

    def log_pulse(self, step: int, seen: Mapping[str, float]) -> None:
        """Keep the numbers of one beat of the pulse, which belongs to a turn."""
        self._add({"step": step, **{f"pulse: {name}": value for name, value in seen.items()}})

    def log_look(self, step: int, seen: Mapping[str, float]) -> None:
        """Keep the numbers of one look at samples."""
        self._add({"step": step, **{f"{LOOK}{name}": value for name, value in seen.items()}})

    def _add(self, line: dict[str, Any]) -> None:
        self._lines.append(line)
        if self.writes:
            append_line(self.root / LOG, json.dumps(line))
        self._show(line)

    def _show(self, line: Mapping[str, Any]) -> None:
        if self.board is not None:
            self.board.add(line)

    def _write_log(self) -> None:
        write_whole(self.root / LOG, "".join(json.dumps(line) + "\n" for line in self._lines).encode())


def holds_run(root: Path) -> bool:
    """Say whether anything was made in a folder; a run that failed before its first checkpoint leaves its plan only."""
    return any((root / name).exists() for name in MADE)


def numbers_of(line: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a line of the log by name, but for those of single conditions."""
    return {name: value for name, value in line.items() if name != "step" and not name.startswith(ONE)}


def single_conditions(line: Mapping[str, Any]) -> dict[str, float]:
    """Return what a line of the log says of single conditions: the distance between their seeds, by condition."""
    return {name.removeprefix(ONE): value for name, value in line.items() if name.startswith(ONE)}


def read_log(root: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's log; none when there is no log.  A last line that is not whole yet is left out."""
    path = root / LOG
    try:
        text = path.read_text() if path.is_file() else ""
        lines = text.splitlines(keepends=True)
        begun = lines[-1:] if lines and lines[-1].startswith("{") and not lines[-1].endswith("\n") else []
        return [json.loads(line) for line in lines[: len(lines) - len(begun)]]
    except ValueError as error:
        raise WeightsError(
            f"{path} cannot be read ({error}). Remove it; only the curves of the run are lost."
        ) from error


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise WeightsError(f"{path} cannot be read ({error}). Restore the file, or give another --out.") from error


def _before(line: Mapping[str, Any], steps: int) -> bool:
    """Say whether a line was written within so many steps: turns count theirs from 0, a look says how many are done."""
    return bool(line["step"] <= steps if "look: score" in line else line["step"] < steps)


def _refuse_other(root: Path, there: Any, wanted: Any, chosen: Any) -> None:
    changed = list(_differences(there, wanted, chosen, ""))
    if changed:
        raise RecipeError(
            f"{root} holds another run: {'; '.join(changed[:4])}. Give another --out, remove the folder, or ask for "
            "the run that is there."
        )


def _differences(there: Any, wanted: Any, chosen: Any, path: str) -> Iterator[str]:
    """Say which values differ, by their paths; what is only wanted must be among those that were chosen."""
    if isinstance(there, list) and isinstance(wanted, list) and len(there) == len(wanted):
        there, wanted, chosen = (dict(enumerate(each)) for each in (there, wanted, chosen or []))
    if isinstance(there, dict) and isinstance(wanted, dict):
        known = chosen if isinstance(chosen, dict) else {}
        for key in sorted({*there, *wanted}, key=str):
            if key in there or key in known:
                yield from _differences(there.get(key), wanted.get(key), known.get(key), f"{path}.{key}")
    elif there != wanted:
        yield f"{path.lstrip('.')} is {there!r} there and {wanted!r} here"
