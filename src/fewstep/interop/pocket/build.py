"""Untrained pipelines of the great families, small enough for one CPU, from configurations alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
)

from fewstep.errors import RecipeError, nearest
from fewstep.interop.pocket.words import clip_tokenizer, t5_tokenizer

__all__ = ["POCKETS", "Pocket", "build"]

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}  # Stable Diffusion's
SOFTER = 0.05  # of T5's unit embeddings, ours: 400 updates of reading then do more than 1,000 did, 72 % against 64 %


@dataclass(frozen=True)
class Pocket:
    """How small a pipeline is.

    ``side`` of its images in pixels, ``tokens`` of a prompt that are read, ``code`` the widths of the autoencoder (each
    further one halves the sides), ``latents`` their channels, ``words`` the width of the text encoders and ``widths``
    those of the U-Net; transformers are ``width`` wide and have ``depth`` blocks.
    """

    side: int = 16
    tokens: int = 24
    code: tuple[int, ...] = (32, 64)
    latents: int = 4
    words: int = 64
    widths: tuple[int, ...] = (64, 128)
    width: int = 192
    depth: int = 6

    @classmethod
    def of(cls, side: int) -> "Pocket":
        """Return the sizes for images of so many pixels: latents of 8 x 8, of 16 x 16 from 32 pixels on."""
        if side < 32:
            return cls(side)
        halvings = max((side // 16).bit_length() - 1, 1)
        code = (32, 64, *[96] * (halvings - 1))  # ours: textures need more than plain shapes
        return cls(side, 40, code, 4, 96, (64, 128, 192), 256, 8)

    @property
    def grid(self) -> int:
        """The side of the latents."""
        return self.side >> (len(self.code) - 1)


def build(family: str, pocket: Pocket, seed: int = 0) -> Any:
    """Return an untrained pipeline of a family, whose weights are drawn from ``seed``.

    Raises ``RecipeError`` for a family that there is no pocket edition of.
    """
    if family not in POCKETS:
        raise RecipeError(
            f"there is no pocket pipeline of the family {family!r}; {nearest(family, POCKETS)} Accepted: "
            f"{', '.join(POCKETS)}."
        )
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        pipeline = POCKETS[family](pocket)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def stable_diffusion(pocket: Pocket) -> StableDiffusionPipeline:
    """Return Stable Diffusion: a U-Net with cross-attention below its first level, CLIP, v prediction as in 2.1."""
    cross = len(pocket.widths) - 1
    net = UNet2DConditionModel(
        sample_size=pocket.grid,
        block_out_channels=pocket.widths,
        layers_per_block=1,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * cross),
        up_block_types=(*("CrossAttnUpBlock2D",) * cross, "UpBlock2D"),
        cross_attention_dim=pocket.words,
        attention_head_dim=2,  # diffusers' name for the number of heads here
        norm_num_groups=8,
    )
    scheduler = DDIMScheduler(
        **BETAS, clip_sample=False, prediction_type="v_prediction", timestep_spacing="trailing", steps_offset=1
    )
    return StableDiffusionPipeline(
        _coder(pocket), _clip(pocket), clip_tokenizer(pocket.tokens), net, scheduler, None, None,
        requires_safety_checker=False,
    )  # fmt: skip


def pixart(pocket: Pocket) -> PixArtSigmaPipeline:
    """Return PixArt-Sigma: a transformer with cross-attention to T5 that predicts a variance too, which nobody uses."""
    net = PixArtTransformer2DModel(
        sample_size=pocket.grid,
        patch_size=2,
        in_channels=pocket.latents,
        out_channels=2 * pocket.latents,
        num_layers=pocket.depth,
        num_attention_heads=pocket.width // 48,
        attention_head_dim=48,
        cross_attention_dim=pocket.width,
        caption_channels=pocket.words,
        use_additional_conditions=False,
    )
    scheduler = DDIMScheduler(
        **BETAS, clip_sample=False, prediction_type="v_prediction", timestep_spacing="trailing", steps_offset=1
    )
    return PixArtSigmaPipeline(t5_tokenizer(pocket.tokens), _t5(pocket), _coder(pocket), net, scheduler)


def stable_diffusion_3(pocket: Pocket) -> StableDiffusion3Pipeline:
    """Return Stable Diffusion 3: a transformer of text and image in one, three text encoders, rectified flow."""
    net = SD3Transformer2DModel(
        sample_size=pocket.grid,
        patch_size=2,
        in_channels=pocket.latents,
        out_channels=pocket.latents,
        num_layers=pocket.depth * 2 // 3,  # ours: each has a stream of its own for the text
        attention_head_dim=48,
        num_attention_heads=pocket.width // 48,
        joint_attention_dim=2 * pocket.words,
        caption_projection_dim=pocket.width,
        pooled_projection_dim=2 * pocket.words,
        pos_embed_max_size=pocket.grid,
    )
    first, second = _clip(pocket, projected=True), _clip(pocket, projected=True)
    reader = _t5(pocket, 2 * pocket.words)
    tokenizers = clip_tokenizer(pocket.tokens), clip_tokenizer(pocket.tokens), t5_tokenizer(pocket.tokens)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
    return StableDiffusion3Pipeline(
        net, scheduler, _coder(pocket, 0.0), first, tokenizers[0], second, tokenizers[1], reader, tokenizers[2]
    )


def flux(pocket: Pocket) -> FluxPipeline:
    """Return Flux: blocks of two streams and of one, CLIP's pooled state and T5, rectified flow, no embedded scale."""
    head = 48
    net = FluxTransformer2DModel(
        in_channels=4 * pocket.latents,
        num_layers=pocket.depth // 2,
        num_single_layers=pocket.depth // 2,
        attention_head_dim=head,
        num_attention_heads=pocket.width // head,
        joint_attention_dim=pocket.words,
        pooled_projection_dim=pocket.words,
        guidance_embeds=False,
        axes_dims_rope=(8, 20, 20),
    )
    clip, t5 = clip_tokenizer(pocket.tokens), t5_tokenizer(pocket.tokens)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
    return FluxPipeline(scheduler, _coder(pocket, 0.0), _clip(pocket), clip, _t5(pocket), t5, net)


POCKETS: Mapping[str, Callable[[Pocket], Any]] = {
    "sd": stable_diffusion,
    "pixart": pixart,
    "sd3": stable_diffusion_3,
    "flux": flux,
}
"""How the pipeline of each family is built; their names are those of ``fewstep.interop.families``."""


def _coder(pocket: Pocket, shift: float | None = None) -> AutoencoderKL:
    levels = len(pocket.code)
    return AutoencoderKL(
        block_out_channels=pocket.code,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=pocket.latents,
        norm_num_groups=8,
        sample_size=pocket.side,
        scaling_factor=1.0,
        shift_factor=shift,
        mid_block_add_attention=False,
    )


def _clip(pocket: Pocket, projected: bool = False) -> CLIPTextModel | CLIPTextModelWithProjection:
    tokenizer = clip_tokenizer(pocket.tokens)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=pocket.words,
        intermediate_size=4 * pocket.words,
        num_hidden_layers=3 if projected else 2,  # pipelines with a projection read the last layer but one
        num_attention_heads=2,
        max_position_embeddings=pocket.tokens,
        projection_dim=pocket.words,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def _t5(pocket: Pocket, width: int | None = None) -> T5EncoderModel:
    width = width or pocket.words
    config = T5Config(
        vocab_size=len(t5_tokenizer(pocket.tokens)),
        d_model=width,
        d_kv=32,
        d_ff=4 * width,
        num_layers=2,
        num_heads=2,
        dropout_rate=0.0,
        feed_forward_proj="gated-gelu",  # T5 1.1's, which these pipelines read
    )
    reader = T5EncoderModel(config)
    reader.shared.weight.data.mul_(SOFTER)
    return reader
