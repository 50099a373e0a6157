"""Tiny pipelines of every family, with random weights, from configurations alone."""

import string
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLInstructPix2PixPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

WORDS, LENGTH = 60, 12


def clip_tokenizer() -> CLIPTokenizer:
    letters = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    vocab = {"<|startoftext|>": 57, "<|endoftext|>": 58} | {word: i for i, word in enumerate(letters)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=LENGTH)


def t5_tokenizer() -> T5Tokenizer:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in string.ascii_lowercase]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=LENGTH)


def gemma_tokenizer() -> GemmaTokenizer:
    names = ["<pad>", "<eos>", "<bos>", "<unk>", "▁", *string.ascii_lowercase]
    tokenizer = GemmaTokenizer(vocab={name: i for i, name in enumerate(names)}, merges=[], model_max_length=LENGTH)
    tokenizer.padding_side = "right"
    return tokenizer


def clip(projection: bool = False, width: int = 16) -> Any:
    config = CLIPTextConfig(
        vocab_size=WORDS, hidden_size=width, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=LENGTH, projection_dim=width, bos_token_id=57, eos_token_id=58, pad_token_id=58,
    )  # fmt: skip
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


def t5(width: int = 16) -> T5EncoderModel:
    return T5EncoderModel(T5Config(vocab_size=WORDS, d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2))


def coder(channels: int = 4, **more: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=4, latent_channels=channels, sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, **more,
    )  # fmt: skip


def unet(**more: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), norm_num_groups=4, layers_per_block=1, attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        **{"cross_attention_dim": 16, **more},
    )  # fmt: skip


def sd(prediction: str = "epsilon", zero_snr: bool = False) -> StableDiffusionPipeline:
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        prediction_type=prediction, rescale_betas_zero_snr=zero_snr, steps_offset=1,
    )  # fmt: skip
    return StableDiffusionPipeline(
        coder(), clip(), clip_tokenizer(), unet(), scheduler, None, None, requires_safety_checker=False
    )


def sdxl() -> StableDiffusionXLPipeline:
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False
    )
    net = unet(
        cross_attention_dim=32, addition_embed_type="text_time", addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=40, use_linear_projection=True,
    )  # fmt: skip
    tokenizers = clip_tokenizer(), clip_tokenizer()
    return StableDiffusionXLPipeline(
        coder(), clip(), clip(projection=True), *tokenizers, net, scheduler, add_watermarker=False
    )


def sd3() -> StableDiffusion3Pipeline:
    net = SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=32, caption_projection_dim=16, pooled_projection_dim=32,
        out_channels=4, pos_embed_max_size=8,
    )  # fmt: skip
    first, second = clip(projection=True), clip(projection=True)
    tokenizer = clip_tokenizer()
    return StableDiffusion3Pipeline(
        net, FlowMatchEulerDiscreteScheduler(shift=3.0), coder(shift_factor=0.1), first, tokenizer, second, tokenizer,
        t5(32), t5_tokenizer(),
    )  # fmt: skip


def flux(guided: bool = True) -> FluxPipeline:
    net = FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=1,
        joint_attention_dim=16, pooled_projection_dim=16, guidance_embeds=guided, axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    return FluxPipeline(scheduler, coder(shift_factor=0.1), clip(), clip_tokenizer(), t5(), t5_tokenizer(), net)


def pixart() -> PixArtSigmaPipeline:
    net = PixArtTransformer2DModel(
        sample_size=8, num_layers=1, patch_size=2, attention_head_dim=8, num_attention_heads=2, in_channels=4,
        out_channels=8, cross_attention_dim=16, caption_channels=16, attention_bias=True, norm_num_groups=1,
        use_additional_conditions=False,
    )  # fmt: skip
    scheduler = DDIMScheduler(clip_sample=False, set_alpha_to_one=False)
    return PixArtSigmaPipeline(t5_tokenizer(), t5(), coder(), net, scheduler)


def sana() -> SanaPipeline:
    net = SanaTransformer2DModel(
        patch_size=1, in_channels=4, out_channels=4, num_layers=1, num_attention_heads=2, attention_head_dim=4,
        num_cross_attention_heads=2, cross_attention_head_dim=4, cross_attention_dim=8, caption_channels=8,
        sample_size=8,
    )  # fmt: skip
    shrinks = AutoencoderDC(
        in_channels=3, latent_channels=4, attention_head_dim=2, encoder_block_types=("ResBlock", "ResBlock"),
        decoder_block_types=("ResBlock", "ResBlock"), encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8), encoder_qkv_multiscales=((), ()), decoder_qkv_multiscales=((), ()),
        encoder_layers_per_block=(1, 1), decoder_layers_per_block=(1, 1), downsample_block_type="conv",
        upsample_block_type="interpolate", decoder_norm_types="rms_norm", decoder_act_fns="silu",
        scaling_factor=0.41407,
    )  # fmt: skip
    reader = Gemma2Model(Gemma2Config(
        vocab_size=WORDS, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=4,
    ))  # fmt: skip
    scheduler = DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    return SanaPipeline(gemma_tokenizer(), reader, shrinks, net, scheduler)


def dit() -> DiTPipeline:
    net = DiTTransformer2DModel(
        sample_size=8, num_layers=1, patch_size=2, attention_head_dim=8, num_attention_heads=2, in_channels=4,
        out_channels=8, attention_bias=True, num_embeds_ada_norm=5, norm_type="ada_norm_zero",
        norm_elementwise_affine=False, activation_fn="gelu-approximate",
    )  # fmt: skip
    return DiTPipeline(net, coder(), DDIMScheduler(clip_sample=False), {i: f"class{i}" for i in range(5)})


def unconditional() -> DDPMPipeline:
    net = UNet2DModel(
        sample_size=16, block_out_channels=(8, 16), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    return DDPMPipeline(net, DDPMScheduler(clip_sample=False))


def told_images(kind: str, xl: bool) -> Any:
    """A pipeline that is told images besides a prompt: of the kind control, inpaint or edit."""
    base = sdxl() if xl else sd()
    channels = {"in_channels": {"control": 4, "inpaint": 9, "edit": 8}[kind]}
    config = {**base.unet.config, **channels, "_use_default_values": []}
    parts: dict[str, Any] = base.components | {"unet": UNet2DConditionModel.from_config(config)}
    if kind == "control":
        parts["controlnet"] = ControlNetModel.from_unet(parts["unet"], conditioning_embedding_out_channels=(8, 8))
    more = {"add_watermarker": False} if xl else {"requires_safety_checker": False}
    if xl and kind == "edit":
        parts = {name: part for name, part in parts.items() if name not in ("image_encoder", "feature_extractor")}
    return TOLD[kind][xl](**parts, **more)


TOLD = {
    "control": (StableDiffusionControlNetPipeline, StableDiffusionXLControlNetPipeline),
    "inpaint": (StableDiffusionInpaintPipeline, StableDiffusionXLInpaintPipeline),
    "edit": (StableDiffusionInstructPix2PixPipeline, StableDiffusionXLInstructPix2PixPipeline),
}
BUILD = {
    "sd": sd, "sd-v": partial(sd, "v_prediction", True), "sdxl": sdxl, "sd3": sd3, "flux": flux,
    "schnell": partial(flux, False), "pixart": pixart, "sana": sana, "dit": dit, "unconditional": unconditional,
}  # fmt: skip
BUILD |= {kind: partial(told_images, kind, False) for kind in TOLD}
BUILD |= {f"{kind}-xl": partial(told_images, kind, True) for kind in TOLD}


def built(family: str, seed: int = 0) -> Any:
    """Return a pipeline whose every weight is random: layers that begin at zero would hide a mistake behind them."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        pipe = BUILD[family]()
        for part in pipe.components.values():
            if isinstance(part, torch.nn.Module):
                part.eval().requires_grad_(False)
                for parameter in part.parameters():
                    parameter.add_(0.1 * torch.randn_like(parameter))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def random_lora(folder: Path, to: Path, prefix: str = "unet.") -> Path:
    """Save a random adapter of the queries of the tiny U-Net, its keys under any prefix; return the folder."""
    pipe = StableDiffusionPipeline.from_pretrained(folder)
    pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False))
    StableDiffusionPipeline.save_lora_weights(to, get_peft_model_state_dict(pipe.unet))
    file = to / "pytorch_lora_weights.safetensors"
    save_file({key.replace("unet.", prefix, 1): value for key, value in load_file(file).items()}, file)
    return to
