"""Stable Diffusion 3: a multimodal transformer on the straight path."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from fewstep.interop.families.base import Family
from fewstep.interop.readers import Reader, readers

__all__ = ["SD3"]


class SD3(Family):
    """Stable Diffusion 3 and 3.5.  Source: arXiv 2403.03206."""

    PIPELINES = ("StableDiffusion3Pipeline",)
    MODEL = "SD3Transformer2DModel"
    STEPS = 28
    GUIDANCE = 7.0

    def told(self, pipe: Any, prompts: Sequence[str], size: tuple[int, int]) -> dict[str, Tensor]:
        """Return the states of all text encoders in a row and the pooled states of two."""
        texts = list(prompts)
        states, _, pooled, _ = pipe.encode_prompt(
            texts, texts, texts, device=pipe.device, do_classifier_free_guidance=False, **self.call(pipe)
        )
        return {"states": states, "pooled": pooled}

    def ask(self, net: Any, x: Tensor, time: Tensor, told: Mapping[str, Tensor], scale: Tensor | None) -> Tensor:
        """Ask the transformer."""
        output: Tensor = net(
            hidden_states=x,
            timestep=time,
            encoder_hidden_states=told["states"],
            pooled_projections=told["pooled"],
            return_dict=False,
        )[0]
        return output

    def most(self, config: Mapping[str, Any]) -> int:
        """Return what its table of positions, which it cuts from the middle, has room for."""
        return int(config["pos_embed_max_size"]) * self.unit(config)

    def readers(self, pipe: Any) -> tuple[Reader, ...]:
        """Return both CLIP encoders, and T5 where the pipeline has it."""
        clips, most = readers("CLIP", pipe.tokenizer, pipe.tokenizer_2), self.call(pipe)["max_sequence_length"]
        return clips if pipe.tokenizer_3 is None else (*clips, Reader("T5", pipe.tokenizer_3, most))

    def call(self, pipe: Any) -> dict[str, Any]:
        """Return the length that the T5 encoder reads: 256 tokens, as the pipeline asks for, or fewer."""
        reader = pipe.tokenizer_3
        return {"max_sequence_length": 256 if reader is None else min(256, int(reader.model_max_length))}
