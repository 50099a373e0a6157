"""Sana: a transformer with linear attention over strongly compressed latents."""

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

from torch import Tensor

from fewstep.interop.families.base import Family
from fewstep.interop.readers import Reader

__all__ = ["Sana"]


class Sana(Family):
    """Sana on the straight path.  Source: arXiv 2410.10629."""

    PIPELINES = ("SanaPipeline",)
    MODEL = "SanaTransformer2DModel"
    STEPS = 20
    GUIDANCE = 4.5

    def told(self, pipe: Any, prompts: Sequence[str], size: tuple[int, int]) -> dict[str, Tensor]:
        """Return the language model's states and which of them are words, with the pipeline's own instruction."""
        instruction = signature(type(pipe).__call__).parameters["complex_human_instruction"].default
        states, mask, _, _ = pipe.encode_prompt(
            list(prompts),
            False,
            device=pipe.device,
            max_sequence_length=self.text(pipe),
            complex_human_instruction=instruction,
        )
        return {"states": states, "mask": mask}

    def empty(self, pipe: Any, size: tuple[int, int]) -> dict[str, Tensor]:
        """Return the states of the empty prompt, without the instruction."""
        _, _, states, mask = pipe.encode_prompt(
            [""], True, negative_prompt="", device=pipe.device, max_sequence_length=self.text(pipe)
        )
        return {"states": states, "mask": mask}

    def ask(self, net: Any, x: Tensor, time: Tensor, told: Mapping[str, Tensor], scale: Tensor | None) -> Tensor:
        """Ask the transformer."""
        output: Tensor = net(
            x,
            encoder_hidden_states=told["states"],
            encoder_attention_mask=told["mask"],
            timestep=time * net.config.timestep_scale,
            return_dict=False,
        )[0]
        return output

    def text(self, pipe: Any) -> int:
        """Return the length that the language model reads: 300 tokens, as the pipeline asks for, or fewer."""
        return min(300, int(pipe.tokenizer.model_max_length))

    def readers(self, pipe: Any) -> tuple[Reader, ...]:
        """Return the language model; behind the instruction there is room for one token less than it reads."""
        return (Reader("Gemma", pipe.tokenizer, self.text(pipe) - 1, lowered=True),)

    def call(self, pipe: Any) -> dict[str, Any]:
        """Say the same length, and ask for the very size that is given."""
        return {"max_sequence_length": self.text(pipe), "use_resolution_binning": False}
