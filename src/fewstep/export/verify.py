"""Prove an export: a fresh process with stock diffusers makes the images that the student in memory made."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from fewstep.errors import WeightsError
from fewstep.export import fresh

__all__ = ["FEW", "Verified", "compared", "verify"]

FEW = "few_step.json"
NEEDED = (
    "form",
    "num_steps",
    "timesteps",
    "call",
    "component",
    "base_model",
    "base_digest",
    "base_style",
    "weight_name",
)
STATED = ("scheduler", "prediction_type", "sigmas", "shift", "stochastic", "eta")  # as the proof holds them
CLOSE = 1e-3  # of time steps, in float32


@dataclass(frozen=True)
class Verified:
    """That an export holds: the largest difference of a pixel on a scale from 0 to 1, per number of steps, what was
    tolerated, and how many layers had an adapter."""

    differences: Mapping[int, float]
    tolerance: float
    modules: int

    @property
    def worst(self) -> float:
        """The largest of the differences."""
        return max(self.differences.values())


def verify(folder: Path, base: str | None = None) -> Verified:
    """Reload an export in a fresh process with stock diffusers, draw its images anew, and compare.

    ``base`` is where the base of a LoRA lies now, if elsewhere.  Raises ``WeightsError`` with what differs: images,
    time steps, layers with an adapter, the weights of the base, or a reader's complaint; and with what cannot be read.
    """
    _refuse_nothing(folder)
    _refuse_unreadable(folder, base)
    with TemporaryDirectory() as place:
        answer = Path(place) / "answer.safetensors"
        words = [sys.executable, "-I", fresh.__file__, str(answer), str(folder), *([base] if base else [])]
        ended = subprocess.run(words, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise WeightsError(
                f"Stock diffusers cannot run {folder}: {_last_words(ended.stderr)} Export the student again; if its "
                "base was moved, give its place with --base."
            )
        images, report = _tensors(answer, "report")
    return compared(folder, images, report)


def compared(folder: Path, images: Mapping[str, Tensor], report: Mapping[str, Any]) -> Verified:
    """Compare what a stranger made of an export, as ``fresh.reproduce`` returns it, with the proof in its folder."""
    known, asked = _tensors(folder / fresh.PROOF, "proof")
    wanted = {count: image for count, image in known.items() if not count.startswith(fresh.GIVEN)}
    few = _contract(folder)
    if few["form"] != "folder":
        _check_adapter(folder, few, asked, report)
    if report["said"]:
        raise WeightsError(f"A reader of {folder} complained: {report['said'][0]} Export the student again.")
    _check_counts(folder, wanted, few, images)
    for name in STATED:
        if name in asked and asked[name] != few[name]:  # not in older proofs
            raise WeightsError(
                f"{folder / FEW} states {name} {few[name]!r}; the student in memory had {asked[name]!r}. Restore the "
                "file, or export the student again."
            )
    _check_steps(folder, asked, few["timesteps"], f"{FEW} states")
    _check_steps(folder, asked, report["timesteps"], f"the saved {report['scheduler']} yields")
    differences = {int(count): float((images[count] - image).abs().max()) for count, image in wanted.items()}
    found = Verified(differences, asked["tolerance"], len(report["layers"]))
    if not found.worst <= found.tolerance:
        each = ", ".join(f"{value:.2g} at {count} step{'s' * (count != 1)}" for count, value in differences.items())
        raise WeightsError(
            f"Stock diffusers draws other images from {folder} than the student in memory: the largest difference of a "
            f"pixel from 0 to 1 is {each}; tolerated is {found.tolerance:g}. Adapted layers: {found.modules} of "
            f"{len(asked['layers'])}. Weights or settings in the folder were changed, or a library behaves otherwise "
            "than when it was made. Export the student again, and do not use this folder."
        )
    return found


def _check_adapter(folder: Path, few: Mapping[str, Any], asked: Mapping[str, Any], report: Mapping[str, Any]) -> None:
    """Raise for another base, and unless exactly the layers that were trained have an adapter."""
    if report["base"] != few["base_digest"]:
        raise WeightsError(
            f"{folder} was made on a base with the weights {few['base_digest']}; the one that was opened has "
            f"{report['base']}. On other weights it draws something else. Give the right one with --base."
        )
    lost = sorted(set(asked["layers"]) - set(report["layers"]))
    strange = sorted(set(report["layers"]) - set(asked["layers"]))
    if lost or strange:
        what = f"without: {', '.join(lost[:3])}" if lost else f"not trained: {', '.join(strange[:3])}"
        raise WeightsError(
            f"After loading {folder}, {len(report['layers'])} layers have an adapter; {len(asked['layers'])} were "
            f"trained ({what}). Keys were dropped on the way: the file was changed, or its names are not those that "
            "the reader knows. Export the student again."
        )


def _check_counts(
    folder: Path, wanted: Mapping[str, Tensor], few: Mapping[str, Any], images: Mapping[str, Tensor]
) -> None:
    """Raise unless the numbers of steps are those of the proof, and images of each were drawn in its size."""
    claimed = {str(count) for count in few["num_steps"]}
    if claimed != set(wanted) or not set(wanted) <= set(images):
        raise WeightsError(
            f"{folder} is proven in {', '.join(wanted)} steps, but {FEW} is for {', '.join(sorted(claimed))} "
            f"(num_steps) and says how to call it in {', '.join(images)} (call). Restore the file, or export the "
            "student again."
        )
    for count, image in wanted.items():
        if images[count].shape != image.shape:
            raise WeightsError(
                f"Stock diffusers draws images of the shape {tuple(images[count].shape)} from {folder} in {count} "
                f"steps; the student in memory drew {tuple(image.shape)}. A configuration in the folder was changed. "
                "Export the student again."
            )


def _check_steps(folder: Path, asked: Mapping[str, Any], steps: Mapping[str, Any], who: str) -> None:
    """Raise unless the time steps are those of the training."""
    for count, wanted in asked["timesteps"].items():
        found = steps.get(count, [])
        if len(found) != len(wanted) or any(abs(a - b) > CLOSE for a, b in zip(found, wanted, strict=True)):
            raise WeightsError(
                f"The student in {folder} was trained at the time steps {wanted} for {count} steps, but {who} {found}. "
                "Restore the file, or export the student again."
            )


def _tensors(path: Path, about: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, "pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}, json.loads(opened.metadata()[about])  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read ({error!r}). Export the student again.") from error


def _contract(folder: Path) -> dict[str, Any]:
    """Return the content of ``few_step.json``; raise for one that cannot be read, or without what is asked of it."""
    try:
        few = json.loads((folder / FEW).read_text(encoding="utf-8"))
        absent = [name for name in (*NEEDED, *STATED) if name not in few]
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"{folder / FEW} cannot be read ({error!r}). Export the student again.") from error
    if absent:
        raise WeightsError(f"{folder / FEW} does not say {', '.join(absent)}. Restore it, or export the student again.")
    return dict(few)


def _last_words(stderr: str) -> str:
    """Return what an exception said, all of its lines in one."""
    after = re.split(r"^  .*\n", stderr.strip() + "\n", flags=re.MULTILINE)[-1]  # frames of a traceback are indented
    return (" ".join(after.split()) or "it ended without a word").rstrip(".") + "."


def _refuse_unreadable(folder: Path, base: str | None) -> None:
    """Raise, with its name, for a file that the proof needs and that is not there or cannot be read."""
    few = _contract(folder)
    _tensors(folder / fresh.PROOF, "proof")
    for weights in sorted(folder.rglob("*.safetensors")):
        try:
            with safe_open(weights, "pt"):
                pass
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"{weights} cannot be read ({error!r}). Export the student again.") from error
    if few["form"] == "folder":
        return
    place, styles = base or str(few["base_model"]), few["base_style"] or []
    if Path(place).is_absolute() and not Path(place).exists():
        raise WeightsError(f"The base of {folder} is not at {place}. Give its place with --base.")
    for style in [styles] if isinstance(styles, str) else styles:  # a path alone in older exports
        if Path(style).is_absolute() and not Path(style).exists():
            raise WeightsError(f"{style}, which was merged into the base of {folder}, is not there. Put it back.")


def _refuse_nothing(folder: Path) -> None:
    for name in (FEW, fresh.PROOF):
        if not (folder / name).is_file():
            raise WeightsError(
                f"{folder} is no export of fewstep: it has no {name}. Give a folder that `fewstep export` wrote."
            )
