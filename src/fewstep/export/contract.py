"""``few_step.json``: what a student is and how it is called, for servers, user interfaces and tests."""

from collections.abc import Sequence
from dataclasses import asdict
from inspect import signature
from typing import Any

from fewstep.evaluate import Row
from fewstep.export.student import Student
from fewstep.export.timetable import Timetable
from fewstep.versions import versions

__all__ = ["contract"]

FORMAT = 1
TRAINED = ("recipe", "source", "data", "seed", "trained steps", "best step", "training seconds", "hardware")


def contract(student: Student, table: Timetable, form: str, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the content of the file, without what the check of the export adds.

    ``timesteps`` are those at which the network is asked, from 0 to 1000, ``sigmas`` their shares of noise;
    ``call`` is what the stock pipeline is told besides what to draw, by the number of steps.  ``trained_range`` are the
    guidance scales that the student learned under, ``metrics`` the measured ``rows``.  ``extra_inputs`` are the images
    that the pipeline is told besides the prompt, and what the stock call names them.
    """
    facts, adapter = student.model.facts, student.adapter if form != "folder" else None
    return {
        "format_version": FORMAT,
        "form": form,
        "method": facts.get("recipe"),
        "base_model": student.pipe.place,
        "base_digest": student.base,
        "base_variant": student.pipe.which.variant,
        "base_revision": student.pipe.which.revision,
        "base_style": list(student.pipe.styles),
        "family": student.pipe.family.name,
        "component": student.pipe.family.BACKBONE,
        "prediction_type": table.prediction,
        "num_steps": list(table.seen),
        "timesteps": {str(count): steps for count, steps in table.seen.items()},
        "sigmas": {str(count): steps for count, steps in table.sigmas.items()},
        "shift": table.shift,
        "stochastic": table.stochastic,
        "eta": table.eta,
        "scheduler": type(table.scheduler).__name__,
        "call": {str(count): _call(student, table, count) for count in table.seen},
        "guidance": {
            "mode": student.mode,
            "scale": student.scale,
            "trained_range": list(facts.get("guidance range") or [student.scale or 1.0] * 2),
            "negative_prompt": student.mode == "cfg",
        },
        "extra_inputs": dict(student.pipe.extra.IMAGES) if student.pipe.extra else {},
        "resolutions": [list(reversed(student.pipe.size))],
        "lora": None if adapter is None else _lora(adapter.rank, len(adapter.layers)),
        "checks": {},
        "metrics": [{name: value for name, value in asdict(row).items() if value not in (None, "")} for row in rows],
        "train": {key: facts[key] for key in TRAINED if key in facts} | {"versions": facts.get("versions", versions())},
    }


def _lora(rank: int, modules: int) -> dict[str, int]:
    return {"r": rank, "alpha": rank, "modules": modules}


def _call(student: Student, table: Timetable, count: int) -> dict[str, Any]:
    """Return what the stock call is told for so many steps."""
    pipeline = student.pipe.pipeline
    told = {"num_inference_steps": count, **student.pipe.call, **table.told[count]}
    if "guidance_scale" in signature(type(pipeline).__call__).parameters:
        told["guidance_scale"] = 1.0 if student.scale is None else student.scale
    return told
