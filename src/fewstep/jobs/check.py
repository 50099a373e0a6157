"""What a recipe, data or the folder of a run amount to: in words, or the error that says what is wrong."""

import json
import math
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from fewstep.data import NAMED, open_data
from fewstep.errors import DataError, UnhealthyTraining, WeightsError, nearest
from fewstep.jobs.listing import check_parts, describe
from fewstep.jobs.origin import illness_of, origin_of
from fewstep.jobs.record import read_log
from fewstep.model import Model
from fewstep.recipes import is_given_teacher, load_recipe, paper_names
from fewstep.store import load_model
from fewstep.training import checkpoints

__all__ = ["check", "check_data", "check_recipe", "check_run"]

RUN = ("plan.json", "run.json", "checkpoints", "model.safetensors")  # one of these makes a folder that of a run
WORSE = 2.0  # times the best score: from here on a run is said to have got worse


def check(what: str, size: int | None = None, channels: int | None = None) -> dict[str, str]:
    """Say what ``what`` is: a recipe by name or .yaml path, data by name or folder, or the folder of a run.

    ``size`` and ``channels`` are for data.  Raises ``FewstepError`` with what is wrong.
    """
    if what in paper_names() or what.endswith((".yaml", ".yml")):
        return check_recipe(what)
    if any((Path(what) / name).exists() for name in RUN):
        return check_run(Path(what))
    if what not in NAMED and not Path(what).exists():
        raise DataError(
            f"{what!r} is neither a recipe nor data nor the folder of a run; "
            f"{nearest(what, [*paper_names(), *NAMED])} Or give a .yaml file or a folder that exists."
        )
    return check_data(what, size, channels)


def check_recipe(name: str) -> dict[str, str]:
    """Say what a recipe does.  Raises ``RecipeError``, with the line, when it cannot work."""
    recipe = load_recipe(name)
    check_parts(recipe, name)
    given = is_given_teacher(recipe)
    needs = "a teacher: use it with `fewstep distill`" if given else "data only: use `fewstep train`"
    return {"recipe": name, **describe(recipe), "needs": needs, "verdict": "the recipe can be used"}


def check_data(name: str, size: int | None = None, channels: int | None = None) -> dict[str, str]:
    """Say what was understood of the data.  Raises ``DataError`` when they cannot be used."""
    data = open_data(name, size, channels)
    words = {"data": data.name, **data.describe()}
    words |= {"shape": "x".join(map(str, data.shape)), "fingerprint": data.fingerprint()[:16]}
    return words | {"verdict": "the data can be used"}


def check_run(root: Path) -> dict[str, str]:
    """Say whether a run is finished, healthy and whole.

    Raises ``WeightsError`` when its weights are not, and ``UnhealthyTraining`` when a monitor had stopped it.
    """
    words = {"run": str(root), **_plan(root)}
    if (root / "run.json").is_file():
        model = load_model(root)
        _refuse_changed(root, model)
        words |= _finished(model) | {"health": _health(read_log(root)), "weights": "readable, as they were saved"}
        return words | {"verdict": "finished"}
    if illness := illness_of(root):
        raise UnhealthyTraining(
            f"{root} was stopped by a monitor, and the same command would stop again: {illness} Change the recipe "
            "so (with --set), and give another --out."
        )
    return words | {"health": _health(read_log(root))} | _interrupted(root)


def _plan(root: Path) -> dict[str, str]:
    """Say what was asked for when the run began."""
    path, origin = root / "plan.json", origin_of(root)
    words = {"command": origin.command} if origin else {}
    if not path.is_file():
        return words
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        return words | {"recipe": plan["recipe"], "data": plan["data"]["name"], "seed": str(plan["seed"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} cannot be read ({error!r}). Restore the file, or train again.") from error


def _finished(model: Model) -> dict[str, str]:
    """Say what the model is."""
    facts, parameters = model.facts, sum(parameter.numel() for parameter in model.view.net.parameters())
    made = ", ".join(map(str, model.sampler.made_for))
    words = {
        "network": f"{next(iter(model.network), 'of your own')}, {parameters:,} parameters",
        "makes": f"{'x'.join(map(str, model.shape))} in {len(model.classes) or 'no'} classes, made for {made} steps",
    }
    if "merged" in facts:
        words["made of"] = str(facts["recipe"])
    if "trained steps" in facts:
        words["trained"] = f"{facts['trained steps']:,} steps in {facts['training seconds']:g} s on {facts['hardware']}"
        words["kept"] = f"the weights of step {facts['best step']:,}, the best that were seen"
    return words


def _interrupted(root: Path) -> dict[str, str]:
    """Say how far an unfinished run came and how to go on."""
    found, origin = checkpoints(root / "checkpoints"), origin_of(root)
    for path in found[-1:]:
        for file in sorted(path.glob("*.safetensors")):
            _readable(file)
    step = f"interrupted; the last checkpoint is of step {_step(found[-1]):,}" if found else "nothing is saved yet"
    again = f"give the same command again: {origin.command}" if origin else "call the same function again"
    return {"verdict": f"{step}; to continue, {again}"}


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def _readable(file: Path) -> None:
    try:
        with safe_open(file, "pt") as opened:
            opened.keys()
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{file} cannot be read ({error}). Remove its folder to use the one before.") from error


def _refuse_changed(root: Path, model: Model) -> None:
    """Raise when the weights are not those that ``run.json`` was written for."""
    there = sha256((root / "model.safetensors").read_bytes()).hexdigest()[:16]
    if model.facts.get("weights", there) != there:
        raise WeightsError(
            f"{root / 'model.safetensors'} holds other weights than run.json was written for ({there} instead of "
            f"{model.facts['weights']}). Restore the file, or train again."
        )


def _health(log: Sequence[Mapping[str, Any]]) -> str:
    """Say whether all that was logged is finite, and how the score went."""
    if not log:
        return "nothing is logged yet"
    broken = next((line["step"] for line in log if not all(map(_finite, line.values()))), None)
    if broken is not None:
        return f"ill: a logged number is not finite at step {broken:,}; lower the learning rate or clip the gradient"
    scores = {line["step"]: line["look: score"] for line in log if "look: score" in line}
    if not scores:
        return "healthy so far, but not looked at yet"
    best, last = min(scores, key=lambda step: scores[step]), max(scores)
    said = f"best score {scores[best]:.3g} at step {best:,}, last {scores[last]:.3g}; looks at samples: {len(scores)}"
    if scores[last] > WORSE * scores[best]:
        return f"got worse after its best: {said}; the best weights are kept, a lower learning rate may help"
    return f"healthy: {said}"


def _finite(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
