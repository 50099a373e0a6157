"""Pipelines as teachers of a run: opened, their data encoded, and what a recipe needs to know of them computed."""

from dataclasses import dataclass
from pathlib import Path

from fewstep.data import Data, open_data
from fewstep.errors import DataError
from fewstep.guidance import CFG
from fewstep.interop import Encoded, Pipe, open_pipe
from fewstep.jobs.measure import CACHE
from fewstep.jobs.progress import bar
from fewstep.model import Model
from fewstep.recipes import Document

__all__ = ["KEPT", "Asked", "computed", "encoded", "opened", "pipe_of"]

KEPT = (
    "pipeline",
    "size",
    "style",
)  # facts that students keep of their teacher, to be shown and exported


@dataclass(frozen=True)
class Asked:
    """A pipeline as a teacher: its place, the side of the images, a style LoRA, and the guidance scale (None: its own
    ones)."""

    place: str
    size: int | None = None
    style: Path | None = None
    guidance: float | None = None


def opened(asked: Asked, steps: int | None = None) -> tuple[Pipe, Model]:
    """Open a pipeline and return it with the teacher that it is."""
    size = None if asked.size is None else (asked.size, asked.size)
    pipe = open_pipe(asked.place, size, asked.style)
    return pipe, pipe.model(steps, asked.guidance)


def pipe_of(model: Model) -> Pipe:
    """Open the pipeline that a student came from; raise ``DataError`` for a model that is no student of one."""
    if "pipeline" not in model.facts:
        raise DataError(
            "This model is no student of a diffusers pipeline: its facts name none. Give the folder of a run of "
            "`fewstep distill` on a diffusers folder."
        )
    height, width = model.facts["size"]
    return open_pipe(model.facts["pipeline"], (height, width), model.facts.get("style"))


def encoded(name: str, pipe: Pipe, cache: Path = CACHE, show: bool = False) -> Encoded:
    """Open data by name and encode them, with a bar.  Raises ``DataError`` for data of another form."""
    data: Data = open_data(name, pipe.size[0])
    found = Encoded(data, pipe, cache)
    with bar("encoding", show) as move:
        found.prepare(lambda done, total: move(done, total))
    return found


def computed(document: Document, model: Model) -> list[str]:
    """Return the settings of a recipe that follow from a pipeline: its guidance, where the recipe has none."""
    scales = [rule.scale for rule in model.sampler.guidance if isinstance(rule, CFG)]
    frozen = document.values.get("frozen")
    silent = isinstance(frozen, dict) and "teacher" in frozen and not (frozen["teacher"] or {}).get("guidance")
    return [f"frozen.teacher.guidance=[{{cfg: {scale}}}]" for scale in scales if silent]
