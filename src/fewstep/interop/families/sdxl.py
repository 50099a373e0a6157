"""Stable Diffusion XL: two text encoders, their pooled state, and the size of the image."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from fewstep.interop.families.base import rows
from fewstep.interop.families.extra import Control, Edit, Extra, Inpaint
from fewstep.interop.families.sd import SD
from fewstep.interop.readers import Reader, readers

__all__ = ["SDXL"]


class SDXL(SD):
    """Stable Diffusion XL with its conditions of size: original size, corner of the crop, wanted size.

    Source: arXiv 2307.01952, section 2.2.
    """

    PIPELINES = ("StableDiffusionXLPipeline",)
    STUDENTS = ()
    EXTRAS: ClassVar[Mapping[str, Extra]] = {
        "StableDiffusionXLControlNetPipeline": Control(),
        "StableDiffusionXLInpaintPipeline": Inpaint(),
        "StableDiffusionXLInstructPix2PixPipeline": Edit(),
    }
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

    def readers(self, pipe: Any) -> tuple[Reader, ...]:
        """Return both encoders, which take the same tokens."""
        return readers("CLIP", pipe.tokenizer, pipe.tokenizer_2)

    def read(self, told: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the states, and with them the pooled state and the sizes."""
        more = {"text_embeds": told["pooled"], "time_ids": told["sizes"]}
        return {"encoder_hidden_states": told["states"], "added_cond_kwargs": more}
