"""What an export is compared with: images of the student in memory, drawn from noise as the stock pipeline draws it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import interpolate, pixel_shuffle

from fewstep.data import Shapes
from fewstep.draws import item_noise
from fewstep.errors import DataError
from fewstep.export.fresh import GIVEN
from fewstep.export.student import Student
from fewstep.export.timetable import Timetable
from fewstep.types import X

__all__ = ["Proof", "Request", "prove"]

TOLERANCE = {"float32": 1e-3, "bfloat16": 0.05, "float16": 0.02}  # of grey levels from 0 to 1; the first is a quarter
DRAWN = 64  # pixels a side of the shapes that are shown to pipelines that are told an image; then enlarged
GLOBAL = ("sd3", "flux", "dit")  # families whose stock pipelines hand no generator to the scheduler


@dataclass(frozen=True)
class Request:
    """Which images prove an export: ``prompts``, or ``labels`` of classes, one image and seed each.

    For pipelines that take neither, as many as there are prompts.
    """

    prompts: tuple[str, ...] = ("a photo of a lighthouse in a storm", "a bowl of red apples on a wooden table")
    labels: tuple[int, ...] = (0, 1)
    seed: int = 0

    def images(self, student: Student) -> dict[str, Tensor]:
        """Return the images that a pipeline is told besides prompts, one for each, by name: of drawn shapes."""
        pipe, items = student.pipe, range(len(self.prompts))
        if pipe.extra is None:
            return {}
        shapes = Shapes(DRAWN)
        drawn = {
            name: shapes.images_of(name, items) if name in pipe.extra.COLUMNS else shapes.batch(items).x0
            for name in pipe.extra.IMAGES
        }
        return {name: interpolate(image, size=pipe.size) for name, image in drawn.items()}

    def inputs(self, student: Student) -> tuple[dict[str, Any], int]:
        """Return what the stock call is given to draw, and how many images that are."""
        height, width = student.pipe.size
        if student.model.condition:
            taken = signature(type(student.pipe.pipeline).__call__).parameters
            sides = {name: side for name, side in (("height", height), ("width", width)) if name in taken}
            return {"prompt": list(self.prompts), **sides}, len(self.prompts)
        if student.model.classes:
            if max(self.labels) >= len(student.model.classes):
                raise DataError(f"There is no class {max(self.labels)}; there are {len(student.model.classes)}.")
            return {"class_labels": list(self.labels)}, len(self.labels)
        return {"batch_size": len(self.prompts)}, len(self.prompts)


@dataclass(frozen=True, eq=False)
class Proof:
    """Images (n, h, w, 3) in [0, 1] per number of steps, and what a stranger needs to make the same ones: words, and
    images (n, c, h, w) of 8 bits by name."""

    images: Mapping[int, Tensor]
    asked: Mapping[str, Any]
    given: Mapping[str, Tensor] = field(default_factory=dict)

    def content(self) -> bytes:
        """Return the safetensors file."""
        tensors = {str(count): image.contiguous() for count, image in self.images.items()}
        tensors |= {f"{GIVEN}{name}": image.contiguous() for name, image in self.given.items()}
        return save(tensors, {"format": "pt", "proof": json.dumps(self.asked)})


@torch.no_grad()
def prove(student: Student, table: Timetable, request: Request) -> Proof:
    """Draw the images of the student in memory for every number of steps.

    The latents of item i and, where the stock pipeline hands its generators on, the noise between its steps come from
    one generator with the seed of item i; elsewhere that noise is torch's global one, for all items at once.
    """
    inputs, items = request.inputs(student)
    seeds = [request.seed + i for i in range(items)]
    told_of = request.images(student)
    c = student.conditions(request.prompts, request.labels, told_of, items)
    dtype = str(student.pipe.backbone.dtype).removeprefix("torch.")
    images = {}
    for count in table.seen:
        noise = _noise(student, seeds, request.seed, count)
        view, told = student.guided(items), None if c is None else c.to(noise.device)
        latents = student.sampler.path(view, noise[0], count, told, noise[1:])
        images[count] = _pixels(student, latents)
    asked = {
        "inputs": inputs,
        "seeds": seeds,
        "seed": request.seed,
        "noise": "torch.manual_seed(seed)" if student.pipe.family.name in GLOBAL else "torch.Generator() of each seed",
        "timesteps": {str(count): steps for count, steps in table.seen.items()},
        "sigmas": {str(count): steps for count, steps in table.sigmas.items()},
        "scheduler": type(table.scheduler).__name__,
        "prediction_type": table.prediction,
        "shift": table.shift,
        "stochastic": table.stochastic,
        "eta": table.eta,
        "layers": [] if student.adapter is None else list(student.adapter.layers),
        "dtype": dtype,
        "device": student.pipe.backbone.device.type,
        "tolerance": TOLERANCE[dtype],
    }
    given = {name: ((image + 1) * 255 / 2).round().to(torch.uint8) for name, image in told_of.items()}
    return Proof(images, asked, given)


def _noise(student: Student, seeds: Sequence[int], seed: int, count: int) -> Tensor:
    """Return what the stock pipeline starts from and what it adds, (1 + k, items, *shape)."""
    more, device = student.sampler.fresh(count), student.pipe.backbone.device
    if student.pipe.family.name not in GLOBAL:
        return item_noise(seeds, student.model.shape, 1 + more).to(device)
    start, generator = item_noise(seeds, student.model.shape).to(device), torch.Generator(device).manual_seed(seed)
    shape = (len(seeds), *_packed(student))
    drawn = [_unpacked(student, torch.randn(shape, generator=generator, device=device)) for _ in range(more)]
    return torch.stack([start[0], *drawn])


def _packed(student: Student) -> tuple[int, ...]:
    """Return the shape in which the pipeline keeps the latents of one item: Flux has a row per patch."""
    channels, height, width = student.model.shape
    return (height * width // 4, channels * 4) if student.pipe.family.name == "flux" else (channels, height, width)


def _unpacked(student: Student, x: Tensor) -> Tensor:
    """Return packed latents (b, ...) as (b, c, h, w)."""
    _, height, width = student.model.shape
    if student.pipe.family.name != "flux":
        return x
    return pixel_shuffle(x.transpose(1, 2).reshape(len(x), -1, height // 2, width // 2), 2)


def _pixels(student: Student, latents: X) -> Tensor:
    """Return images (n, h, w, 3) in [0, 1], on the CPU."""
    return (student.pipe.decode(latents) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).float().cpu()
