"""A diffusers pipeline as a teacher: prompts to conditions, images to latents and back, the backbone to a model."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from fewstep.denoiser import Denoiser
from fewstep.errors import DataError
from fewstep.guidance import CFG
from fewstep.interop.bridge import Bridge, around
from fewstep.interop.control import Control
from fewstep.interop.families import Extra, Family
from fewstep.interop.own import own_guidance
from fewstep.interop.packing import CONTROL, Packing, ending
from fewstep.interop.quiet import quiet
from fewstep.interop.readers import LongPrompts, unread
from fewstep.interop.which import Which
from fewstep.levels import AtHome, Levels, OffLevels, OnLevels
from fewstep.model import Model
from fewstep.predict import Prediction
from fewstep.process import Process
from fewstep.sampling import ManyStep
from fewstep.solvers import DDIM
from fewstep.times import Trailing

__all__ = ["Pipe", "at_home", "on_levels"]

AT_ONCE = 64  # prompts or images that are encoded together


@dataclass(frozen=True, eq=False)
class Pipe:
    """A pipeline that was opened, for images of ``size`` (height, width) pixels.

    ``pipeline`` is diffusers' own object, ``place`` where it came from, ``which`` the files that were read there,
    ``styles`` the adapters that were merged into it, in their order.
    """

    pipeline: Any
    family: Family
    place: str
    size: tuple[int, int]
    styles: tuple[str, ...] = ()
    which: Which = field(default_factory=Which)

    @property
    def facts(self) -> dict[str, Any]:
        """What a student keeps of it, by which the same one is opened again."""
        style = {"style": list(self.styles)} if self.styles else {}
        return {"pipeline": self.place, "size": list(self.size), **style, **self.which.facts}

    @property
    def backbone(self) -> Any:
        """The network that denoises."""
        return self.pipeline.components[self.family.BACKBONE]

    @property
    def coder(self) -> Any:
        """The autoencoder, None for pipelines on pixels."""
        return self.pipeline.components.get("vae")

    @property
    def factor(self) -> int:
        """How many pixels one latent stands for, along a side."""
        if self.coder is None:
            return 1
        config = self.coder.config
        levels = len(config.get("block_out_channels") or config.encoder_block_out_channels)
        return int(2 ** (levels - 1))

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of one item: latents, or an image where there is no autoencoder."""
        height, width = self.size
        config = self.backbone.config if self.coder is None else self.coder.config
        channels = config.in_channels if self.coder is None else config.latent_channels
        return channels, height // self.factor, width // self.factor

    @property
    def image(self) -> tuple[int, int, int]:
        """The shape of an image: in colour where there is an autoencoder, else what the network takes."""
        return (3 if self.coder is not None else self.shape[0], *self.size)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, for pipelines that are told one."""
        return self.family.classes(self.pipeline)

    @property
    def packing(self) -> Packing:
        """How prompts are packed, and images with them."""
        more = {} if self.extra is None else self.extra.shapes(self.shape, self.size)
        return Packing({**Packing.of(self.nothing()).shapes, **more})

    @property
    def extra(self) -> Extra | None:
        """What it is told besides a prompt."""
        return self.family.EXTRAS.get(type(self.pipeline).__name__)

    @property
    def call(self) -> dict[str, Any]:
        """What the stock pipeline has to be told, besides what to draw, steps and guidance, to do as we do."""
        return self.family.call(self.pipeline) | dict(self.extra.CALL if self.extra else {})

    @torch.no_grad()
    def nothing(self) -> dict[str, Tensor]:
        """Return what the backbone is told when there is no prompt."""
        return self.family.empty(self.pipeline, self.size)

    def prompts(self, texts: Sequence[str], first: int = 1, images: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the conditions (b, width) of prompts, float32, numbered from ``first``.

        ``images`` are those that the pipeline is told besides, by name, for all prompts (3, h, w) or one for each
        (b, 3, h, w), in [-1, 1]; of a mask there is one channel, above 0 where there is something to fill in.
        Raises ``DataError`` for pipelines that read no text, for no prompts, and for images that are missing, not
        taken, or of another form.  Warns (``LongPrompts``) of prompts that are not read whole.
        """
        if said := self.unread(texts):
            warnings.warn(f"{said}. What is beyond is not read: shorten these prompts.", LongPrompts, stacklevel=2)
        return self.conditions(texts, first, images)

    @torch.no_grad()
    def conditions(self, texts: Sequence[str], first: int = 1, images: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return what ``prompts`` does, without a word of those that are long: for who says it (``unread``)."""
        if not texts:
            raise DataError("No prompts were given; accepted are one or more.")
        ends = self.kept({name: _for_each(name, image, len(texts)) for name, image in (images or {}).items()})
        rows = self.texts(texts, first)
        return rows if ends is None else torch.cat([rows, ends], 1)

    @torch.no_grad()
    def kept(self, images: Mapping[str, Tensor]) -> Tensor | None:
        """Return the ends of the conditions (b, ...) of these images; None where there are none and are to be none."""
        self._refuse_images(images)
        if self.extra is None:
            return None
        count, ends = len(next(iter(images.values()))), []
        for start in range(0, count, AT_ONCE):
            some = {name: image[start : start + AT_ONCE] for name, image in images.items()}
            ends.append(ending(self.extra.parts(self.pipeline, some)).cpu())
        return torch.cat(ends)

    def _refuse_images(self, images: Mapping[str, Tensor]) -> None:
        """Raise ``DataError`` for images that are missing, not taken, or of another form."""
        wanted = {} if self.extra is None else self.extra.IMAGES
        kind = type(self.pipeline).__name__
        if missing := sorted(set(wanted) - set(images)):
            options = " ".join(f"--{name} FILE" for name in wanted)
            raise DataError(
                f"A {kind} is told more than a prompt, and was given no {' and no '.join(missing)}. Give images "
                f"({options}; in Python images={{...}})."
            )
        if strange := sorted(set(images) - set(wanted)):
            takes = f"it takes {', '.join(wanted)}" if wanted else "it is told a prompt alone"
            raise DataError(f"A {kind} was given the image {strange[0]!r} (--{strange[0]}), but {takes}. Leave it out.")
        for name, image in images.items():
            if tuple(image.shape[1:]) != (form := (1 if name == "mask" else 3, *self.size)):
                raise DataError(
                    f"The image {name!r} has shape {list(image.shape[1:])}; this pipeline was opened for {list(form)}. "
                    "Crop and resize it."
                )

    def texts(self, texts: Sequence[str], first: int = 1) -> Tensor:
        """Return the rows (b, ...) of prompts alone, to which those of images may be added."""
        packing, parts = self.packing.prompt, []
        with quiet():
            for start in range(0, len(texts), AT_ONCE):
                told = self.family.told(self.pipeline, texts[start : start + AT_ONCE], self.size)
                parts.append(packing.pack(told, first + start).cpu())
        return torch.cat(parts)

    def unread(self, texts: Sequence[str]) -> str:
        """Say how many of the prompts are longer than each text encoder reads; "" where all are read whole."""
        return unread(self.family.readers(self.pipeline), texts)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Return the latents of images (b, 3, h, w) in [-1, 1], of about unit variance; images without autoencoder."""
        coder = self.coder
        if coder is None:
            return images
        parts = []
        for part in torch.split(images, AT_ONCE):
            found = coder.encode(part.to(coder.device, coder.dtype))
            latents = found.latent_dist.mode() if "latent_dist" in found else found.latent
            mean, spread = moments(coder, latents)
            parts.append(((latents - mean) * coder.config.scaling_factor / spread).float())
        return torch.cat(parts)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Return the images of latents (b, c, h, w), in [-1, 1]."""
        coder = self.coder
        if coder is None:
            return latents.clamp(-1, 1)
        parts = []
        for part in torch.split(latents, AT_ONCE):
            raw = part.to(coder.device, coder.dtype)
            mean, spread = moments(coder, raw)
            raw = raw * spread / coder.config.scaling_factor + mean
            parts.append(coder.decode(raw, return_dict=False)[0].float().clamp(-1, 1))
        return torch.cat(parts)

    def model(self, steps: int | None = None, guidance: float | None = None) -> Model:
        """Return the teacher: the backbone itself, not a copy, with the many-step sampler of its family.

        ``guidance`` is the scale, by default the one that its folder states, else that of the family; it is real (two
        calls) or embedded, as the family has it.
        """
        path, prediction = self.path
        net: Bridge = around(self.family, self.backbone, self.nothing(), self.packing)
        net.eval().requires_grad_(False)
        control: dict[str, Any] = {}
        if CONTROL in net.packing.shapes:
            place = {"place": self.place, **self.which.facts}
            net.control = Control(self.place, self.pipeline.controlnet, self.which)
            control = {"control": place if self.which.facts else self.place}
        scale = own_guidance(self.place, self.family.GUIDANCE) if guidance is None else guidance
        told = self.family.EMBEDDED
        rules = () if told or scale == 1 else ((self.extra.guided(scale) if self.extra else CFG(scale)),)
        count = self.family.STEPS if steps is None else steps
        sampler = ManyStep(Trailing(path.t_max), DDIM(), count, rules, scale if told else None)
        parts = {name: list(shape) for name, shape in net.packing.shapes.items()}
        words = {"family": self.family.name, "config": dict(self.backbone.config), "parts": parts, **control}
        condition = (net.packing.width,) if parts else ()
        network = {"fewstep.interop.Bridge": words}
        return Model(Denoiser(net, path, prediction), sampler, self.shape, self.classes, network, self.facts, condition)

    @property
    def path(self) -> tuple[Process, Prediction]:
        """The process that the scheduler runs along for images of this size, and what the backbone predicts."""
        scheduler = self.pipeline.scheduler
        tokens = self.shape[1] * self.shape[2] // 4  # patches of 2 x 2 latents
        return self.family.path({"_class_name": type(scheduler).__name__, **scheduler.config}, tokens)


def _for_each(name: str, image: Tensor, count: int) -> Tensor:
    """Return an image for each of so many prompts; raise ``DataError`` for another number."""
    if image.ndim not in (3, 4) or (image.ndim == 4 and len(image) not in (1, count)):
        raise DataError(
            f"{count} prompts came with images {name!r} of shape {list(image.shape)}; accepted is one for all, "
            "(channels, height, width), or one for each."
        )
    return image.expand(count, *image.shape[-3:])


def moments(coder: Any, like: Tensor) -> tuple[Tensor | float, Tensor | float]:
    """Return the mean that an autoencoder's latents are shifted by, and the deviation that they are divided by.

    Either of each channel, as some of XL have it, or one mean for all.
    """
    mean, spread = coder.config.get("latents_mean"), coder.config.get("latents_std")
    if mean is None or spread is None:
        return float(coder.config.get("shift_factor") or 0.0), 1.0
    return like.new_tensor(mean)[:, None, None], like.new_tensor(spread)[:, None, None]


def at_home(model: Model) -> Model:
    """Return a model on the clock of noise levels as the same one on its pipeline's own clock; others as they are."""
    view, sampler = model.view, model.sampler
    if not isinstance(view.process, Levels) or not isinstance(view.prediction, AtHome):
        return model
    home = view.process.home
    view = replace(view, process=home, prediction=view.prediction.inner)
    return replace(model, view=view, sampler=replace(sampler, schedule=OffLevels(home, sampler.schedule)))  # type: ignore[type-var]


def on_levels(model: Model) -> Model:
    """Return the same model on the clock of noise levels, for recipes whose times are these."""
    home, sampler = model.view.process, model.sampler
    view = replace(model.view, process=Levels(home, home.sigma_data), prediction=AtHome(model.view.prediction, home))
    return replace(model, view=view, sampler=replace(sampler, schedule=OnLevels(home, sampler.schedule)))  # type: ignore[type-var]
