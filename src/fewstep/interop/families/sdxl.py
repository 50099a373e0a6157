"""Stable Diffusion XL: two text encoders, their pooled state, and the size of the image."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fewstep.interop.families.base import rows
from fewstep.interop.families.sd import SD, scale_features

__all__ = ["SDXL"]


class SDXL(SD):
    """Stable Diffusion XL with its conditions of size: original size, corner of the crop, wanted size.

    Source: arXiv 2307.01952, section 2.2.
    """

    PIPELINES = ("StableDiffusionXLPipeline",)
    GUIDANCE = 5.0

    def told(self, pipe: Any, prompts: Sequence[str], size: tuple[int, int]) -> dict[str, Tensor]:
        """Return both encoders' states, the pooled state and the six sizes of an image that was not cropped."""
        states, _, pooled, _ = pipe.encode_prompt(list(prompts), device=pipe.device, do_classifier_free_guidance=False)
        sizes = torch.tensor([*size, 0, 0, *size], device=states.device)
        return {"states": states, "pooled": pooled, "sizes": rows(sizes, len(prompts))}

    def empty(self, pipe: Any, size: tuple[int, int]) -> dict[str, Tensor]:
        """Return zeros in the place of the text, where the pipeline does so, and the sizes."""
        told = self.told(pipe, [""], size)
        if not pipe.config.force_zeros_for_empty_prompt:
            return told
        return told | {name: torch.zeros_like(told[name]) for name in ("states", "pooled")}

    def ask(self, net: Any, x: Tensor, time: Tensor, told: Mapping[str, Tensor], scale: Tensor | None) -> Tensor:
        """Ask the U-Net."""
        more = {"text_embeds": told["pooled"], "time_ids": told["sizes"]}
        spread = None if scale is None else scale_features(scale).to(x)
        output: Tensor = net(x, time, told["states"], timestep_cond=spread, added_cond_kwargs=more, return_dict=False)[
            0
        ]
        return output
