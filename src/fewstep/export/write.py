"""Write a student in a form that other tools load, and prove it before the folder is there."""

import copy
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import diffusers
from safetensors.torch import save
from torch import Tensor

from fewstep.errors import WeightsError
from fewstep.evaluate import Row
from fewstep.export.card import Card
from fewstep.export.contract import contract
from fewstep.export.forms import walked
from fewstep.export.fresh import PROOF
from fewstep.export.kohya import MODULES, kohya_base, kohya_tensors, kohya_whole
from fewstep.export.proof import Request, prove
from fewstep.export.student import Student
from fewstep.export.timetable import Timetable
from fewstep.export.verify import FEW, verify
from fewstep.files import whole_folder, write_whole
from fewstep.interop.style import LORA_FILE

__all__ = ["Wanted", "export"]

KOHYA = "few_step_lora.safetensors"
SHARD = "10GB"


@dataclass(frozen=True)
class Wanted:
    """What is exported: a form, numbers of steps (none: all that the student is made for), and what proves it.

    ``rows`` are measured ones for the card.
    """

    form: str = "lora"
    steps: tuple[int, ...] = ()
    request: Request = field(default_factory=Request)
    rows: tuple[Row, ...] = ()


Check = Callable[[Path, str | None], Any]


def export(student: Student, out: Path, wanted: Wanted, check: Check | None = verify) -> dict[str, Any]:
    """Write a student into the folder ``out`` and return the content of its ``few_step.json``.

    ``check`` proves the folder before it is moved into place; without, the export is written unproven and says so.
    Raises ``WeightsError`` for a student that the form cannot hold and for an export that does not hold, and
    ``RecipeError`` for a form that there is none of.
    """
    if out.exists():
        raise WeightsError(f"{out} is there already. Give another folder, or remove it.")
    table = walked(student, wanted.form, wanted.steps or student.sampler.made_for)
    _refuse_untrained(student, wanted.form)
    weights = {"lora": _lora, "kohya": _kohya, "folder": _folder}[wanted.form]
    student = _readable(student, wanted.form)
    few = contract(student, table, wanted.form, wanted.rows)
    with whole_folder(out) as draft:
        few["weight_name"] = weights(student, table, draft)
        proof = prove(student, table, wanted.request)
        write_whole(draft / PROOF, proof.content())
        _write_words(draft, few)
        if check is not None:
            found = check(draft, None)
            few["checks"] = {
                "reload_max_abs_diff": found.worst,
                "tolerance": found.tolerance,
                "modules": found.modules,
                "diffusers": diffusers.__version__,
            }
            _write_words(draft, few)
        Card(out.name, few, proof, wanted.rows).write(draft)
    return few


def _refuse_untrained(student: Student, form: str) -> None:
    """Raise for an adapter that has learned nothing."""
    if form == "folder" or student.adapter is None:
        return
    if not any(up.any() for _, up in student.adapter.layers.values()):
        raise WeightsError("The adapter adds nothing: every B is zero, as before the first update. Train the student.")


def _readable(student: Student, form: str) -> Student:
    """Return the student with its adapter as stock diffusers reads it in a form; raise where that is not all of it."""
    if form != "kohya" or student.adapter is None:
        return student
    return replace(student, adapter=kohya_whole(student.adapter, student.pipe.family.name, student.backbone.config))


def _lora(student: Student, table: Timetable, draft: Path) -> str:
    """Write an adapter as diffusers does, and the scheduler."""
    adapter, prefix = student.adapter, student.pipe.family.BACKBONE
    if adapter is not None:
        write_whole(draft / LORA_FILE, save(adapter.tensors(prefix), adapter.metadata(prefix)))
    table.scheduler.save_pretrained(draft / "scheduler")
    return LORA_FILE


def _kohya(student: Student, table: Timetable, draft: Path) -> str:
    """Write an adapter under kohya's names, and the scheduler."""
    if student.adapter is not None:
        family = student.pipe.family.name
        tensors: dict[str, Tensor] = kohya_tensors(student.adapter, family, student.backbone.config)
        write_whole(draft / KOHYA, save(tensors, {"format": "pt", **_kohya_words(student)}))
    table.scheduler.save_pretrained(draft / "scheduler")
    return KOHYA


def _kohya_words(student: Student) -> dict[str, str]:
    """Return what sd-scripts writes beside the tensors: user interfaces show it, and A1111 lists a file only with the
    bases that it names, where no word means Stable Diffusion 1."""
    rank, module = str(student.adapter.rank if student.adapter else 0), MODULES[student.pipe.family.name]
    words = {"ss_network_module": module, "ss_network_dim": rank, "ss_network_alpha": rank}
    return words | kohya_base(student.pipe.family.name, student.backbone.config)


def _folder(student: Student, table: Timetable, draft: Path) -> None:
    """Write the whole pipeline with the student's network and the scheduler."""
    pipeline = student.pipe.pipeline
    if student.pipe.family.name == "unconditional":  # takes any scheduler, which the other class does not
        whole = diffusers.DDPMPipeline(student.backbone, table.scheduler)
    else:
        whole = copy.copy(pipeline)
        whole.register_modules(**{student.pipe.family.BACKBONE: student.backbone, "scheduler": table.scheduler})
    with _quiet():
        whole.save_pretrained(draft, safe_serialization=True, max_shard_size=SHARD)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep diffusers from warning of components that are of a class of their own choosing."""
    logger = logging.getLogger("diffusers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _write_words(draft: Path, few: Mapping[str, Any]) -> None:
    write_whole(draft / FEW, (json.dumps(few, indent=2) + "\n").encode())
