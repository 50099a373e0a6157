"""PixArt: a transformer with cross-attention to a T5 encoder, whose padding is masked."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from fewstep.interop.families.base import Family, first_half

__all__ = ["PixArt"]


class PixArt(Family):
    """PixArt-alpha and PixArt-Sigma.  Source: arXiv 2310.00426, 2403.04692."""

    PIPELINES = ("PixArtSigmaPipeline", "PixArtAlphaPipeline")
    MODEL = "PixArtTransformer2DModel"
    STEPS = 20
    GUIDANCE = 4.5

    def told(self, pipe: Any, prompts: Sequence[str], size: tuple[int, int]) -> dict[str, Tensor]:
        """Return the encoder's states and which of them are words."""
        states, mask, _, _ = pipe.encode_prompt(
            list(prompts), False, device=pipe.device, max_sequence_length=self.text(pipe)
        )
        return {"states": states, "mask": mask}

    def ask(self, net: Any, x: Tensor, time: Tensor, told: Mapping[str, Tensor], scale: Tensor | None) -> Tensor:
        """Ask the transformer; it predicts a variance too, which nobody uses."""
        output: Tensor = net(
            x,
            encoder_hidden_states=told["states"],
            encoder_attention_mask=told["mask"],
            timestep=time,
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
            return_dict=False,
        )[0]
        return first_half(output, x)

    def text(self, pipe: Any) -> int:
        """Return the length that the encoder reads: 300 tokens, as the pipeline asks for, or fewer."""
        return min(300, int(pipe.tokenizer.model_max_length))

    def call(self, pipe: Any) -> dict[str, Any]:
        """Say the same length, and ask for the very size that is given."""
        return {"max_sequence_length": self.text(pipe), "use_resolution_binning": False}
