"""``fewstep sample``: seeds in, a picture out."""

import time
from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path

from fewstep.cli.words import say
from fewstep.errors import DataError
from fewstep.evaluate import grid
from fewstep.labels import label_index
from fewstep.model import Model
from fewstep.store import load_model

__all__ = ["Request", "accelerated", "sample"]

TILE = 64  # pixels: smaller images are enlarged to at least this


@dataclass(frozen=True)
class Request:
    """``count`` images of the seeds from ``seed`` on, of one class or of the classes in turn."""

    seed: int
    count: int
    label: str | None
    steps: int | None


def sample(folder: Path, request: Request, out: Path, scale: int | None) -> None:
    """Sample a model and write one picture: an image, or a grid of images."""
    if out.suffix.lower() != ".png":
        raise DataError(f"--out is {out}; accepted is a file that ends in .png.")
    model = accelerated(load_model(folder))
    steps, seeds = request.steps or model.steps, range(request.seed, request.seed + request.count)
    labels = _labels(model, request)
    start = time.perf_counter()
    images = model.sample(seeds, labels, steps)
    seconds = time.perf_counter() - start
    enlarged = scale or max(1, ceil(TILE / max(images.shape[2:], default=1)))
    grid(images, out, ceil(sqrt(request.count)), enlarged)
    say(_words(model, request, labels, f"{seconds:.2f} s") | {"picture": f"{out}, pixels enlarged {enlarged} times"})


def accelerated(model: Model) -> Model:
    """Move a model to the accelerator, if there is one."""
    import torch

    return model.to("cuda") if torch.cuda.is_available() else model


def _labels(model: Model, request: Request) -> list[int] | None:
    """Return a label per seed: the one asked for, else the seed's remainder, which does not depend on the count."""
    if request.label is not None:
        return [label_index(request.label, model.classes, "this model")] * request.count
    return [(request.seed + i) % len(model.classes) for i in range(request.count)] if model.classes else None


def _words(model: Model, request: Request, labels: list[int] | None, seconds: str) -> dict[str, str]:
    steps, last = request.steps or model.steps, request.seed + request.count - 1
    made = ", ".join(map(str, model.sampler.made_for))
    names = list(dict.fromkeys(model.classes[label] for label in labels or []))
    words = {
        "steps": f"{steps} ({model.calls(steps)} network calls per image); the model is made for {made}",
        "seeds": f"{request.seed}" if request.count == 1 else f"{request.seed} to {last}",
        "classes": ", ".join(names[:10]) + (", ..." if len(names) > 10 else ""),
        "time": seconds,
    }
    return {topic: text for topic, text in words.items() if text}
