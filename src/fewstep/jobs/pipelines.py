"""Pipelines as teachers of a run: opened, and their data encoded."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fewstep.batch import Batch
from fewstep.data import open_data
from fewstep.errors import DataError, RecipeError
from fewstep.files import CACHE
from fewstep.interop import Encoded, Pipe, is_pipeline, open_pipe
from fewstep.interop.published import as_published
from fewstep.jobs.progress import bar
from fewstep.model import Model
from fewstep.sampling import FewStep
from fewstep.store import load_model
from fewstep.times import Explicit

__all__ = [
    "KEPT",
    "Asked",
    "encoded",
    "example_of",
    "model_at",
    "opened",
    "pipe_of",
    "prepare",
    "started",
    "starting",
]

KEPT = (
    "pipeline",
    "size",
    "style",
)  # facts that students keep of their teacher, to be shown and exported


@dataclass(frozen=True)
class Asked:
    """A pipeline as a teacher: its place, the side of the images, a style LoRA, and the guidance scale (None: its own
    ones).

    ``start`` is a published few-step LoRA with which the student begins, ``like`` whose it is.
    """

    place: str
    size: int | None = None
    style: Path | None = None
    guidance: float | None = None
    start: Path | None = None
    like: str | None = None


def opened(asked: Asked) -> tuple[Pipe, Model]:
    """Open a pipeline and return it with the teacher that it is."""
    size = None if asked.size is None else (asked.size, asked.size)
    pipe = open_pipe(asked.place, size, asked.style)
    return pipe, pipe.model(None, asked.guidance)


def started(asked: Asked) -> Model | None:
    """Return what a published few-step adapter makes of a pipeline; None without one.

    It is sampled as its authors do, if it is said whose it is.

    Raises ``RecipeError`` for a name without an adapter, and for an adapter on top of a style.
    """
    if asked.start is None:
        if asked.like is not None:
            raise RecipeError(f"--like {asked.like} says whose adapter it is, but there is none. Give --start LORA.")
        return None
    if asked.style is not None:
        raise RecipeError("--start and --style were both given. Merge the style into the pipeline, and give --start.")
    _, model = opened(replace(asked, style=asked.start, guidance=1.0))
    return model if asked.like is None else as_published(model, asked.like)


def starting(model: Model) -> list[str]:
    """Return the settings of a recipe whose student begins as a published one: its weights, its time steps."""
    sampler = model.sampler
    settings = ["learners.student.from=origin", "learners.student.lora=null"]
    if isinstance(sampler, FewStep) and isinstance(sampler.schedule, Explicit):
        times = ", ".join(f"{time:.4g}" for time in sampler.schedule.times)
        way = f"steps: {list(sampler.steps)}, gamma: {sampler.gamma:g}"
        settings += [f"sampler={{few_step: {{schedule: {{explicit: [{times}]}}, {way}}}}}"]
    return settings


def pipe_of(model: Model) -> Pipe:
    """Open the pipeline that a student came from; raise ``DataError`` for a model that is no student of one."""
    if "pipeline" not in model.facts:
        raise DataError(
            "This model is no student of a diffusers pipeline: its facts name none. Give the folder of a run of "
            "`fewstep distill` on a diffusers folder."
        )
    height, width = model.facts["size"]
    return open_pipe(model.facts["pipeline"], (height, width), model.facts.get("style"))


def model_at(folder: Path | str) -> Model:
    """Return the model in a folder: one of ours, or the teacher that a diffusers pipeline is."""
    return open_pipe(folder).model() if is_pipeline(folder) else load_model(folder)


def encoded(name: str, pipe: Pipe, cache: Path = CACHE, teacher: Model | None = None) -> Encoded:
    """Open data by name as a pipeline sees them.  Raises ``DataError`` for data of another form."""
    return Encoded(open_data(name, pipe.size[0]), pipe, cache, teacher)


def example_of(pipe: Pipe, count: int) -> Batch:
    """Return items as those of a training, over and over the same: the latents of noise under the empty prompt.

    The prompt is packed like any other; images that are told besides are black, classes the first one.
    """
    noise = torch.rand(1, 3, *pipe.size, generator=torch.Generator().manual_seed(0)) * 2 - 1
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
