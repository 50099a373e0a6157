"""Pipelines as teachers of a run: opened, and their data encoded."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fewstep.batch import Batch
from fewstep.data import open_data
from fewstep.errors import RecipeError, nearest
from fewstep.files import CACHE
from fewstep.guidance import CFG
from fewstep.interop import Encoded, Pipe, as_folder, open_pipe
from fewstep.interop.published import as_published, published
from fewstep.interop.which import Which
from fewstep.jobs.machine import this_machine
from fewstep.jobs.progress import bar
from fewstep.jobs.weigh import at_weight, parted, refuse_readers
from fewstep.model import Model
from fewstep.recipes import Recipe
from fewstep.sampling import FewStep
from fewstep.times import Explicit

__all__ = [
    "Asked",
    "encoded",
    "example_of",
    "in_folder",
    "inherited",
    "opened",
    "prepare",
    "settled",
    "started",
    "starting",
    "unweighed",
    "weighed",
]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
KEPT = ("pipeline", "size", "style", "variant", "revision")
"""Facts that students keep of their teacher, or of what they began with, to be shown and exported."""


@dataclass(frozen=True)
class Asked:
    """A pipeline as a teacher: its place, the side of the images, style LoRAs in the order of their merging, and the
    guidance scale (None: its own ones).

    ``start`` is a published few-step LoRA with which the student begins, ``like`` whose it is.  All LoRAs may be given
    as ``FILE:WEIGHT``.  ``config`` is a folder with the configurations for a checkpoint in one file, ``dtype`` the
    precision of text encoders and autoencoder (None: float32).  ``variant`` and ``revision`` are as ``open_pipe`` has
    them.
    """

    place: str
    size: int | None = None
    style: tuple[Path, ...] = ()
    guidance: float | None = None
    start: Path | None = None
    like: str | None = None
    config: Path | None = None
    dtype: str | None = None
    variant: str | None = None
    revision: str | None = None


def in_folder(asked: Asked, folder: Path) -> Asked:
    """Return the same pipeline as a folder: a checkpoint in one file is written into ``folder``, once."""
    path = Path(asked.place)
    if not path.is_file():
        return asked
    Which.at(asked.place, asked.variant, asked.revision)  # raises for both
    return replace(asked, place=str(as_folder(path, folder, asked.config)), config=None)


def opened(asked: Asked) -> tuple[Pipe, Model]:
    """Open a pipeline where it is to be used, and return it with the teacher that it is."""
    pipe = settled(_opened(asked), asked.dtype)
    return pipe, pipe.model(None, asked.guidance).to(this_machine().device)


def settled(pipe: Pipe, dtype: str | None = None) -> Pipe:
    """Move what a pipeline encodes and decodes with to the accelerator, in place; return the pipeline.

    Text encoders and autoencoder then have the precision ``dtype``, if one is given; an autoencoder that says that
    float16 is too narrow for it keeps float32 there.  The backbone is moved and cast by those who use it.
    Raises ``RecipeError`` for a precision that is not known.
    """
    if dtype is not None and dtype not in DTYPES:
        raise RecipeError(f"there is no precision {dtype!r} of a pipeline; {nearest(dtype, DTYPES)}")
    device, coder = this_machine().device, pipe.coder
    wide = coder if dtype == "float16" and coder is not None and coder.config.get("force_upcast") else None
    for part in pipe.pipeline.components.values():
        if isinstance(part, nn.Module) and part is not pipe.backbone:
            part.to(device, None if dtype is None else DTYPES["float32" if part is wide else dtype])
    return pipe


def _opened(asked: Asked) -> Pipe:
    size = None if asked.size is None else (asked.size, asked.size)
    return open_pipe(asked.place, size, asked.style, asked.config, asked.variant, asked.revision)


def weighed(asked: Asked, folder: Path) -> Asked:
    """Return the same with LoRAs that are merged at weight 1: at another one copies in ``folder``.

    A published one without a weight has that of its authors.
    """
    usual = 1.0 if asked.like is None else published(asked.like).weight
    style = tuple(at_weight(each, folder / str(i)) for i, each in enumerate(asked.style, 1))
    start = None if asked.start is None else at_weight(asked.start, folder, usual)
    return replace(asked, style=style, start=start)


def unweighed(asked: Asked) -> Asked:
    """Return the same with the files of its LoRAs alone: at which weight they are merged takes no memory."""
    start = None if asked.start is None else parted(asked.start)[0]
    return replace(asked, style=tuple(parted(each)[0] for each in asked.style), start=start)


def started(asked: Asked) -> Model | None:
    """Return what a published few-step adapter makes of a pipeline and its styles; None without one.

    It is sampled as its authors do, if it is said whose it is.
    Raises ``RecipeError`` for a name without an adapter; ``WeightsError`` for one of the text encoders, which both
    teacher and student read with.
    """
    if asked.start is None:
        if asked.like is not None:
            raise RecipeError(f"--like {asked.like} says whose adapter it is, but there is none. Give --start LORA.")
        return None
    refuse_readers(asked.start)
    model = _opened(replace(asked, style=(*asked.style, asked.start))).model(None, 1.0)
    return model if asked.like is None else as_published(model, asked.like)


def starting(model: Model) -> list[str]:
    """Return the settings of a recipe whose student begins as a published one: its weights, its time steps.

    A student that is an adapter stands on these weights then.
    """
    sampler = model.sampler
    settings = ["learners.student.from=origin"]
    if isinstance(sampler, FewStep) and isinstance(sampler.schedule, Explicit):
        times = ", ".join(f"{time:.4g}" for time in sampler.schedule.times)
        share = f"gamma: {sampler.gamma:g}" + ("" if sampler.eta is None else f", eta: {sampler.eta:g}")
        rules = [{"cfg": rule.scale} for rule in sampler.guidance if isinstance(rule, CFG)]
        guided = f", guidance: {json.dumps(rules)}" if rules else ""
        guided += "" if sampler.scale is None else f", scale: {sampler.scale:g}"
        way = f"steps: {list(sampler.steps)}, {share}{guided}"
        settings += [f"sampler={{few_step: {{schedule: {{explicit: [{times}]}}, {way}}}}}"]
    return settings


def inherited(recipe: Recipe, teacher: Model | None, start: Model | None) -> dict[str, Any]:
    """Return the facts that a student keeps of the model that it stands on."""
    given = start if start is not None and recipe.learners["student"].from_ == "origin" else teacher
    return {} if given is None else {key: given.facts[key] for key in KEPT if key in given.facts}


def encoded(name: str, pipe: Pipe, cache: Path = CACHE, teacher: Model | None = None) -> Encoded:
    """Open data by name as a pipeline sees them.  Raises ``DataError`` for data of another form."""
    channels = None if pipe.image[0] == 3 else pipe.image[0]
    return Encoded(open_data(name, pipe.size[0], channels), pipe, cache, teacher)


def example_of(pipe: Pipe, count: int) -> Batch:
    """Return items as those of a training, over and over the same: the latents of noise under the empty prompt.

    The prompt is packed like any other; images that are told besides are black, classes the first one.
    """
    noise = torch.rand(1, *pipe.image, generator=torch.Generator().manual_seed(0)) * 2 - 1
    x0 = pipe.encode(noise).cpu()
    c = None
    if pipe.classes:
        c = torch.zeros(1, dtype=torch.long)
    elif pipe.packing.shapes:
        wanted = () if pipe.extra is None else pipe.extra.IMAGES
        black = {name: torch.full((1 if name == "mask" else 3, *pipe.size), -1.0) for name in wanted}
        c = pipe.prompts([""], images=black)
    return Batch(x0.repeat(count, 1, 1, 1), None if c is None else c.repeat(count, *[1] * (c.ndim - 1)))


def prepare(data: Encoded, show: bool) -> None:
    """Encode what is not encoded yet, with a bar."""
    with bar("encoding", show) as move:
        data.prepare(move)
