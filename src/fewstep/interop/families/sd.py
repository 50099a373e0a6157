"""Stable Diffusion 1 and 2: a U-Net that reads the states of one CLIP text encoder."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from fewstep.interop.families.base import UNET, Family
from fewstep.interop.families.extra import Control, Edit, Extra, Inpaint

__all__ = ["SD", "scale_features"]

SCALE = 256  # numbers that a guidance scale is spread over, as in LCM's U-Nets


class SD(Family):
    """Stable Diffusion 1.x and 2.x, with noise or v prediction.  Source: arXiv 2112.10752."""

    PIPELINES: ClassVar[tuple[str, ...]] = ("StableDiffusionPipeline",)
    STUDENTS: ClassVar[tuple[str, ...]] = ("LatentConsistencyModelPipeline",)
    EXTRAS: ClassVar[Mapping[str, Extra]] = {
        "StableDiffusionControlNetPipeline": Control(),
        "StableDiffusionInpaintPipeline": Inpaint(),
        "StableDiffusionInstructPix2PixPipeline": Edit(),
    }
    BACKBONE = "unet"
    LINES = UNET
    MODEL = "UNet2DConditionModel"
    SILENT = "time_embedding.cond_proj.weight"

    def told(self, pipe: Any, prompts: Sequence[str], size: tuple[int, int]) -> dict[str, Tensor]:
        """Return the text encoder's states, as every pipeline of the family does, even if under another name."""
        from diffusers import StableDiffusionPipeline

        states, _ = StableDiffusionPipeline.encode_prompt(pipe, list(prompts), pipe.device, 1, False)
        return {"states": states}

    def ask(self, net: Any, x: Tensor, time: Tensor, told: Mapping[str, Tensor], scale: Tensor | None) -> Tensor:
        """Ask the U-Net."""
        spread = None if scale is None else scale_features(scale).to(x)
        output: Tensor = net(x, time, timestep_cond=spread, return_dict=False, **self.read(told))[0]
        return output

    def read(self, told: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the states."""
        return {"encoder_hidden_states": told["states"]}

    def settings(self, config: Mapping[str, Any], scale: bool) -> dict[str, Any]:
        """Return the configuration, with a projection of the guidance scale if wanted.

        diffusers leaves out what its own list names as left at the default, so that list must not travel.
        """
        width = config.get("time_cond_proj_dim") or (SCALE if scale else None)
        return {**config, "time_cond_proj_dim": width, "_use_default_values": []}


def scale_features(scale: Tensor, width: int = SCALE) -> Tensor:
    """Return sines and cosines of 1000 (w - 1), (b, width), as LCM's U-Nets are told a guidance scale w.

    Source: arXiv 2310.04378, section 4.2; the numbers are those of diffusers' LCM pipeline.
    """
    half = width // 2
    rate = torch.exp(
        -torch.arange(half, dtype=torch.float64, device=scale.device) * (torch.tensor(1e4).log() / (half - 1))
    )
    angle = 1000 * (scale.double() - 1)[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], 1)
