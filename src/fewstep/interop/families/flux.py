"""Flux: a transformer over patches of 2 x 2 latents, which is told the guidance scale."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from fewstep.errors import RecipeError
from fewstep.interop.families.base import Family
from fewstep.interop.readers import Reader, readers

__all__ = ["Flux"]

SCALE = 3.5  # what the pipeline tells the transformer when nobody says anything


class Flux(Family):
    """Flux.1 dev (told a guidance scale) and schnell (told none).  Source: its pipeline in diffusers."""

    PIPELINES = ("FluxPipeline",)
    MODEL = "FluxTransformer2DModel"
    STEPS = 28
    GUIDANCE = SCALE
    EMBEDDED = True
    LINES = (("transformer_blocks", "single_transformer_blocks"),)
    LABEL_SCALE = 1.0

    def told(self, pipe: Any, prompts: Sequence[str], size: tuple[int, int]) -> dict[str, Tensor]:
        """Return the states of the T5 encoder and the pooled state of CLIP."""
        states, pooled, _ = pipe.encode_prompt(list(prompts), None, device=pipe.device, **self.call(pipe))
        return {"states": states, "pooled": pooled}

    def ask(self, net: Any, x: Tensor, time: Tensor, told: Mapping[str, Tensor], scale: Tensor | None) -> Tensor:
        """Ask the transformer about the patches."""
        patches = pixel_unshuffle(x, 2)
        height, width = patches.shape[-2:]
        across, down = torch.arange(width, device=x.device), torch.arange(height, device=x.device)
        places = torch.cartesian_prod(torch.zeros(1, device=x.device), down.float(), across.float())
        guidance = None
        if net.config.guidance_embeds:
            guidance = torch.full((len(x),), SCALE, device=x.device) if scale is None else scale
        output: Tensor = net(
            hidden_states=patches.flatten(2).transpose(1, 2),
            timestep=time,
            guidance=None if guidance is None else guidance.to(x.dtype),
            encoder_hidden_states=told["states"],
            pooled_projections=told["pooled"],
            img_ids=places.to(x.dtype),
            txt_ids=torch.zeros(told["states"].shape[1], 3, device=x.device, dtype=x.dtype),
            return_dict=False,
        )[0]
        return pixel_shuffle(output.transpose(1, 2).reshape(len(x), -1, height, width), 2)

    def settings(self, config: Mapping[str, Any], scale: bool) -> dict[str, Any]:
        """Return the configuration; a transformer that is told no scale cannot be taught one."""
        if scale and not config.get("guidance_embeds"):
            raise RecipeError(
                "a guidance scale is to be an input of a Flux transformer without guidance_embeds (schnell); leave "
                "'inputs: [scale]' out, or give one that is told a scale (dev)."
            )
        return dict(config)

    def side(self, pipe: Any) -> int:
        """Return the pipeline's own number: the transformer has none."""
        return int(pipe.default_sample_size)

    def unit(self, config: Mapping[str, Any]) -> int:
        """Return 2: its patches are packed before the transformer sees them."""
        return 2

    def text(self, pipe: Any) -> int:
        """Return the length that the T5 encoder reads: 512 tokens, as the pipeline asks for, or fewer."""
        return min(512, int(pipe.tokenizer_2.model_max_length))

    def readers(self, pipe: Any) -> tuple[Reader, ...]:
        """Return CLIP, of which the pooled state is told, and T5."""
        return (*readers("CLIP", pipe.tokenizer), Reader("T5", pipe.tokenizer_2, self.text(pipe)))

    def call(self, pipe: Any) -> dict[str, Any]:
        """Say the same length."""
        return {"max_sequence_length": self.text(pipe)}
