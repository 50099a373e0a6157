"""``fewstep sample``: seeds in, a picture or a sound out."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, sqrt
from pathlib import Path

from torch import Tensor

from fewstep.cli.words import say
from fewstep.data import Data, read_further
from fewstep.errors import DataError
from fewstep.evaluate import grid, write_wav
from fewstep.guidance import NAG, PromptSwitch
from fewstep.interop import Encoded, Pipe, is_pipeline
from fewstep.interop.which import Which
from fewstep.jobs.models import PLAIN, as_asked, model_at, pipe_at, pipe_of
from fewstep.jobs.origin import data_for
from fewstep.jobs.pipelines import settled
from fewstep.labels import label_index
from fewstep.model import Model

__all__ = ["Request", "accelerated", "sample"]

SHARE = 0.25  # of the steps, for a prompt that comes first: where arXiv 2408.00230 begins its search
TILE = 64  # pixels: smaller images are enlarged to at least this


@dataclass(frozen=True)
class Request:
    """``count`` items of the seeds from ``seed`` on, of one class or of the classes in turn, away from ``negative``.

    ``nag`` is how far, where the model's own sampler has no rule for it.  ``first`` is asked for alone in the first
    share ``until`` of the steps.
    """

    seed: int
    count: int
    label: str | None
    steps: int | None
    negative: str | None = None
    nag: float | None = None
    first: str | None = None
    until: float | None = None
    guidance: float | None = None
    """The scale, for models that take one; by default their own."""
    images: Mapping[str, Path] = field(default_factory=dict)
    """What a pipeline is told besides the prompt, by name: control, mask, source."""
    which: Which = PLAIN
    """From which of its files a pipeline is opened."""


def sample(folder: Path, request: Request, out: Path | None, scale: int | None) -> None:
    """Sample a model and write one file: a picture of one image or of a grid of them, or sounds in a row."""
    _ending(out, ".png", ".wav")
    pipe = pipe_at(folder, request.which) if is_pipeline(folder) else None
    given = model_at(folder, request.guidance, request.which) if pipe is None else as_asked(pipe, request.guidance)
    model = _under(given, request)
    _refuse_images(model, request)
    if "pipeline" in model.facts and (request.label is not None or not model.conditional):
        _prompted(model, pipe or pipe_of(model), request, _ending(out or Path("out.png"), ".png"), scale)
        return
    model = accelerated(model)
    if len(model.shape) == 3:
        data = data_for(model, folder) if model.condition or "pipeline" in model.facts else None
        _picture(model, data, request, _ending(out or Path("out.png"), ".png"), scale)
    else:
        _sounds(model, data_for(model, folder), request, _ending(out or Path("out.wav"), ".wav"))


def _refuse_images(model: Model, request: Request) -> None:
    """Raise for images where nobody takes one, and for images without a prompt."""
    if not request.images:
        return
    named = ", ".join(f"--{name}" for name in request.images)
    if "pipeline" not in model.facts:
        raise DataError(f"{named}: this model is no student of a pipeline, and takes no such image. Leave it out.")
    if request.label is None:
        raise DataError(f"{named} came without a prompt; give that with --label.")


def _under(model: Model, request: Request) -> Model:
    """Return the model with the rule that was asked for."""
    if request.first is None and request.until is not None:
        raise DataError("--until says how long another prompt comes first; give that with --first.")
    if request.first is not None and request.label is None:
        raise DataError(f"--first is {request.first!r}, but there is no prompt to follow it; give that with --label.")
    if request.nag is None:
        return model
    if request.negative is None:
        raise DataError("--nag says how far to stay away from a negative prompt; give that with --negative.")
    return model.under(NAG(request.nag))


def _beginning(model: Model, request: Request, first: Tensor | None) -> tuple[Model, dict[str, str]]:
    """Return the model with another prompt for the first of its steps, if there is one, and how many these are."""
    if first is None:
        return model, {}
    rule, steps = PromptSwitch(SHARE if request.until is None else request.until, first), request.steps or model.steps
    return model.under(rule), {"first": f"{request.first}, for {rule.steps(steps)} of {steps} steps"}


def _picture(model: Model, data: Data | None, request: Request, out: Path, scale: int | None) -> None:
    """Draw images; ``data`` says what conditions mean that are no classes."""
    if data is None:
        labels = _labels(model, request)
        names = list(dict.fromkeys(model.classes[label] for label in labels or []))
        said = {"classes": ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")}
        first = None if request.first is None else model.conditions(request.first, 1)
        model, begun = _beginning(model, request, first)
        images, seconds = _timed(model, request, labels, request.negative)
    else:
        c = _conditions(model, data, request)
        first = None if request.first is None else _condition(data, request.first, "--first")
        said, (model, begun) = _asked(data, c) | {"prompts": _unread(data, request)}, _beginning(model, request, first)
        images, seconds = _timed(model, request, c, _negative(model, data, request))
    shown = images if data is None else data.pictures(images)
    _draw(shown, out, scale, request, _said(_words(model, request, "image") | said | begun, seconds))


def _prompted(model: Model, pipe: Pipe, request: Request, out: Path, scale: int | None) -> None:
    """Draw what a pipeline's student, or the pipeline itself, makes of a prompt; no data are needed for that."""
    settled(pipe)
    texts = [text for text in (request.label, request.negative, request.first) if text is not None]
    said = {"asked for": request.label or ""}
    if model.condition:
        said["prompts"] = pipe.unread(texts)
        images = {name: read_further(path, name, pipe.size[0]) for name, path in request.images.items()}
        c, negative, first = (
            None if text is None else pipe.conditions([text], images=images)
            for text in (request.label, request.negative, request.first)
        )
        asked: list[int] | Tensor | None = _repeated(c, request)
        away: str | Tensor | None = _repeated(negative, request)
    else:
        asked, away = _labels(model, request), request.negative
        first = None if request.first is None else model.conditions(request.first, 1)
    model, begun = _beginning(accelerated(model), request, first)
    latents, seconds = _timed(model, request, asked, away)
    words = _said(_words(model, request, "image") | said | begun, seconds)
    _draw(pipe.decode(latents).cpu(), out, scale, request, words)


def _draw(images: Tensor, out: Path, scale: int | None, request: Request, words: dict[str, str]) -> None:
    """Write a grid of images and say all about it."""
    enlarged = scale or max(1, ceil(TILE / max(images.shape[2:], default=1)))
    grid(images, out, ceil(sqrt(request.count)), enlarged)
    say(words | {"picture": f"{out}, pixels enlarged {enlarged} times"})


def _sounds(model: Model, data: Data, request: Request, out: Path) -> None:
    if data.ear is None:
        raise DataError(
            f"The model makes items of shape {model.shape}, which can be neither shown as images nor heard: the data "
            f"{data.name!r} have no sound. Sample it in Python instead: model.sample(seeds=...)."
        )
    c = _conditions(model, data, request)
    first = None if request.first is None else _condition(data, request.first, "--first")
    model, begun = _beginning(model, request, first)
    items, seconds = _timed(model, request, c, _negative(model, data, request))
    write_wav(data.ear.sound(items.clamp(-1, 1)), out, data.ear.rate)
    words = _words(model, request, "sound") | _asked(data, c) | begun
    say(_said(words, seconds) | {"sound": f"{out}, {request.count} in a row"})


def _asked(data: Data, c: Tensor | None) -> dict[str, str]:
    """Say what the first conditions ask for."""
    asked = [] if c is None or data.checker is None else data.checker.words(c)
    return {"asked for": "; ".join(asked[:4]) + ("; ..." if len(asked) > 4 else "")}


def _unread(data: Data, request: Request) -> str:
    """Say which of the data's prompts that are asked for, and of a negative one, are not read whole; "" for none."""
    if not isinstance(data, Encoded) or not data.condition:
        return ""
    numbers, away = [(request.seed + i) % len(data) for i in range(request.count)], request.negative
    if away is not None and away.isdecimal() and int(away) < len(data):
        numbers, away = [*numbers, int(away)], None
    texts = [data.captions[number] for number in numbers] + ([] if away is None else [away])
    return data.pipe.unread(list(dict.fromkeys(texts)))


def _timed(
    model: Model, request: Request, labels: list[int] | Tensor | None, negative: str | Tensor | None
) -> tuple[Tensor, float]:
    """Return the items and the seconds that they took."""
    start = time.perf_counter()
    seeds = range(request.seed, request.seed + request.count)
    items = model.sample(seeds, labels, request.steps, negative=negative)
    return items, time.perf_counter() - start


def _ending(out: Path | None, *accepted: str) -> Path:
    """Return the path; raise ``DataError`` when it ends in something else."""
    if out is not None and out.suffix.lower() not in accepted:
        raise DataError(f"--out is {out}; accepted is a file that ends in {' or '.join(accepted)} for this model.")
    return out or Path()


def accelerated(model: Model) -> Model:
    """Move a model to the accelerator, if there is one."""
    import torch

    return model.to("cuda") if torch.cuda.is_available() else model


def _labels(model: Model, request: Request) -> list[int] | None:
    """Return a label per seed: the one asked for, else the seed's remainder, which does not depend on the count."""
    if request.label is not None:
        return [label_index(request.label, model.classes, "this model")] * request.count
    return [(request.seed + i) % len(model.classes) for i in range(request.count)] if model.classes else None


def _conditions(model: Model, data: Data, request: Request) -> Tensor | None:
    """Return the condition asked for, else those of the items that the seeds count, all over again."""
    if not model.conditional:
        return None
    if request.label is not None:
        return _repeated(_condition(data, request.label, "--label"), request)
    return data.conditions([(request.seed + i) % len(data) for i in range(request.count)])


def _negative(model: Model, data: Data, request: Request) -> str | Tensor | None:
    """Return the negative condition: one of the data, or what the model is to refuse."""
    if request.negative is None or not model.condition:
        return request.negative
    return _repeated(_condition(data, request.negative, "--negative"), request)


def _repeated(c: Tensor | None, request: Request) -> Tensor | None:
    return None if c is None else c.expand(request.count, *c.shape[1:])


def _condition(data: Data, text: str, option: str) -> Tensor | None:
    """Return the condition of the item with this number, or the one that is asked for in words."""
    if text.isdecimal() and int(text) < len(data):
        return data.conditions([int(text)])
    asked = None if data.checker is None else data.checker.asked([text])
    if asked is None:
        raise DataError(
            f"{option} is {text!r}, but this model has no classes: what it makes follows the condition of "
            f"an item of {data.name}. Give the number of one, 0 to {len(data) - 1}, or leave {option} out."
        )
    return asked


def _words(model: Model, request: Request, item: str) -> dict[str, str]:
    steps, last = request.steps or model.steps, request.seed + request.count - 1
    made = ", ".join(map(str, model.sampler.made_for))
    return {
        "steps": f"{steps} ({model.calls(steps)} network calls per {item}); the model is made for {made}",
        "seeds": f"{request.seed}" if request.count == 1 else f"{request.seed} to {last}",
    }


def _said(words: dict[str, str], seconds: float) -> dict[str, str]:
    """Return the topics that have words, and the time."""
    return {topic: text for topic, text in words.items() if text} | {"time": f"{seconds:.2f} s"}
