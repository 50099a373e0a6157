"""What pipelines are told besides the prompt: images, made into what stands beside x or steers from aside."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from fewstep.guidance import CFG, EditCFG, Guidance

__all__ = ["Control", "Edit", "Extra", "Inpaint"]

BYTE = 255  # images are of 8 bits; this makes the same floats of them as diffusers' image processors do


class Extra(ABC):
    """How images become a further condition of a pipeline.

    ``IMAGES``   which ones it needs, and what the stock call names them.
    ``COLUMNS``  those that data must have; any other is the item itself.
    ``CALL``     what the stock call has to be told to do as we do.
    """

    IMAGES: ClassVar[Mapping[str, str]]
    COLUMNS: ClassVar[tuple[str, ...]]
    CALL: ClassVar[Mapping[str, Any]] = {}

    @property
    def name(self) -> str:
        """What messages and exports call it."""
        return type(self).__name__.lower()

    @abstractmethod
    def shapes(self, latents: tuple[int, int, int], size: tuple[int, int]) -> dict[str, tuple[int, int, int]]:
        """Return the shapes of the parts, for latents (c, h, w) and images of (height, width) pixels."""

    @abstractmethod
    def parts(self, pipe: Any, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what the stock pipeline makes of images (b, 3, height, width) in [-1, 1], masks (b, 1, ...)."""

    def guided(self, scale: float) -> Guidance:
        """Return the guidance of the stock pipeline at that scale."""
        return CFG(scale)


@dataclass(frozen=True)
class Control(Extra):
    """A control image in [0, 1] for a ControlNet, whose residuals are added at the full scale, at every step.

    Source: arXiv 2302.05543; its pipelines in diffusers.
    """

    IMAGES: ClassVar[Mapping[str, str]] = {"control": "image"}
    COLUMNS = ("control",)

    def shapes(self, latents: tuple[int, int, int], size: tuple[int, int]) -> dict[str, tuple[int, int, int]]:
        """Return that of the image."""
        return {"control": (3, *size)}

    def parts(self, pipe: Any, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the image."""
        return {"control": pipe.control_image_processor.preprocess(pixels(images["control"]))}


@dataclass(frozen=True)
class Edit(Extra):
    """The latents of the image that is to be edited: the mode of the encoder's law, unscaled (CosXL's: scaled).

    Source: InstructPix2Pix, arXiv 2211.09800; its pipelines in diffusers.
    """

    IMAGES: ClassVar[Mapping[str, str]] = {"source": "image"}
    COLUMNS = ("source",)
    CALL: ClassVar[Mapping[str, Any]] = {"image_guidance_scale": 1.0}

    def shapes(self, latents: tuple[int, int, int], size: tuple[int, int]) -> dict[str, tuple[int, int, int]]:
        """Return that of the latents."""
        return {"beside": latents}

    def parts(self, pipe: Any, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the latents."""
        scale = pipe.vae.config.scaling_factor if vars(pipe).get("is_cosxl_edit") else 1
        return {"beside": mode(pipe, pipe.image_processor.preprocess(pixels(images["source"]))) * scale}

    def guided(self, scale: float) -> Guidance:
        """Return guidance by prompt and by source, the latter at the pipeline's own scale."""
        return EditCFG(scale)


@dataclass(frozen=True)
class Inpaint(Extra):
    """The mask at the size of the latents, 1 where there is something to fill in, and the latents of the rest.

    *Ours*: the mode of the encoder's law, scaled; the stock pipelines draw from that law, so that the same question
    has many answers.  Told ``masked_image_latents``, they take the mode as well.
    Source: arXiv 2112.10752, section 4.5; its pipelines in diffusers.
    """

    IMAGES: ClassVar[Mapping[str, str]] = {"mask": "mask_image", "source": "image"}
    COLUMNS = ("mask",)
    CALL: ClassVar[Mapping[str, Any]] = {"strength": 1.0}

    def shapes(self, latents: tuple[int, int, int], size: tuple[int, int]) -> dict[str, tuple[int, int, int]]:
        """Return a channel more than latents have."""
        return {"beside": (latents[0] + 1, *latents[1:])}

    def parts(self, pipe: Any, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return mask and latents side by side."""
        mask = pipe.mask_processor.preprocess(pixels(images["mask"]))
        seen = pipe.image_processor.preprocess(pixels(images["source"])) * (mask < 0.5)
        latents = mode(pipe, seen) * pipe.vae.config.scaling_factor
        small = interpolate(mask, size=latents.shape[-2:]).to(latents)
        return {"beside": torch.cat([small, latents], 1)}


def pixels(images: Tensor) -> Tensor:
    """Return images in [-1, 1] as the stock processors read them from a file of 8 bits, in [0, 1].

    Their layout in memory is that of files too, on which the last bits of a convolution depend.
    """
    return (((images + 1) * BYTE / 2).round() / BYTE).contiguous(memory_format=torch.channels_last)


def mode(pipe: Any, images: Tensor) -> Tensor:
    """Return the most likely latents of images in [-1, 1], unscaled."""
    found: Tensor = pipe.vae.encode(images.to(pipe.vae.device, pipe.vae.dtype)).latent_dist.mode()
    return found
