"""PixArt: a transformer with cross-attention to a T5 encoder, whose padding is masked."""

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from fewstep.interop.families.base import Family, first_half, rows
from fewstep.interop.readers import Reader

__all__ = ["PixArt"]


class PixArt(Family):
    """PixArt-alpha and PixArt-Sigma.  Source: arXiv 2310.00426, 2403.04692.

    A checkpoint goes on at another size as it is: diffusers stretches its positions over the grid that it is asked
    for, so that 1024 pixels are to a model of 512 what they are to one of 1024 with twice the interpolation.  It also
    goes on with longer texts: T5 has no fixed positions and padding is masked, so a prompt that was read whole before
    is answered as before.  What is read is 120 tokens in an alpha pipeline and 300 in a Sigma one, or the tokenizer's
    ``model_max_length`` if that is less; alpha's weights in a Sigma folder read 300.
    """

    PIPELINES = ("PixArtSigmaPipeline", "PixArtAlphaPipeline")
    MODEL = "PixArtTransformer2DModel"
    KEYS = "transformer_blocks.{}.attn1"
    STEPS = 20
    GUIDANCE = 4.5

    def told(self, pipe: Any, prompts: Sequence[str], size: tuple[int, int]) -> dict[str, Tensor]:
        """Return the encoder's states and which of them are words; the size too, where the backbone is told one."""
        states, mask, _, _ = pipe.encode_prompt(
            list(prompts), False, device=pipe.device, max_sequence_length=self.text(pipe)
        )
        told = {"states": states, "mask": mask}
        if not pipe.transformer.use_additional_conditions:
            return told
        height, width = map(float, size)
        sized = {"resolution": torch.tensor([height, width]), "aspect": torch.tensor([height / width])}
        return told | {name: rows(each.to(states.device), len(prompts)) for name, each in sized.items()}

    def ask(self, net: Any, x: Tensor, time: Tensor, told: Mapping[str, Tensor], scale: Tensor | None) -> Tensor:
        """Ask the transformer; it predicts a variance too, which nobody uses."""
        output: Tensor = net(
            x,
            encoder_hidden_states=told["states"],
            encoder_attention_mask=told["mask"],
            timestep=time,
            added_cond_kwargs={"resolution": told.get("resolution"), "aspect_ratio": told.get("aspect")},
            return_dict=False,
        )[0]
        return first_half(output, x)

    def text(self, pipe: Any) -> int:
        """Return the length that the encoder reads: as many tokens as the pipeline asks for, or fewer."""
        most = signature(type(pipe).__call__).parameters["max_sequence_length"].default
        return min(int(most), int(pipe.tokenizer.model_max_length))

    def readers(self, pipe: Any) -> tuple[Reader, ...]:
        """Return T5."""
        return (Reader("T5", pipe.tokenizer, self.text(pipe), lowered=True),)

    def call(self, pipe: Any) -> dict[str, Any]:
        """Say the same length, and ask for the very size that is given."""
        return {"max_sequence_length": self.text(pipe), "use_resolution_binning": False}
