"""A tiny Stable Diffusion in one file, under the keys that Stable Diffusion 1 was published with."""

import re
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

EVERYWHERE = (
    ("time_embedding.linear_1", "time_embed.0"), ("time_embedding.linear_2", "time_embed.2"),
    ("conv_norm_out", "out.0"), ("conv_in", "input_blocks.0.0"), ("conv_out", "out.2"), ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"), ("norm2", "out_layers.0"), ("conv2", "out_layers.3"),
    ("time_emb_proj", "emb_layers.1"), ("conv_shortcut", "skip_connection"),
)  # fmt: skip
CODER = (
    ("conv_norm_out", "norm_out"), ("mid_block.attentions.0", "mid.attn_1"), ("conv_shortcut", "nin_shortcut"),
    ("mid_block.resnets.0", "mid.block_1"), ("mid_block.resnets.1", "mid.block_2"), ("group_norm", "norm"),
    ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out"), (".resnets.", ".block."),
    ("encoder.down_blocks", "encoder.down"), ("downsamplers.0", "downsample"), ("upsamplers.0", "upsample"),
)  # fmt: skip


def published(pipe: Any) -> dict[str, Tensor]:
    """The weights of a tiny pipeline, with one layer in each block, under the published keys."""
    found = {f"model.diffusion_model.{_unet(key)}": value for key, value in pipe.unet.state_dict().items()}
    found |= {f"first_stage_model.{_coder(key)}": value for key, value in pipe.vae.state_dict().items()}
    texts = pipe.text_encoder.state_dict().items()
    return found | {f"cond_stage_model.transformer.text_model.{key}": value for key, value in texts}


def written(pipe: Any, to: Path, **more: Tensor | None) -> Path:
    """The file; ``more`` tensors are put in, those that are None taken out."""
    tensors = published(pipe) | {key.replace("__", "."): value for key, value in more.items()}
    save_file({key: value.contiguous().clone() for key, value in tensors.items() if value is not None}, to)
    return to


def _unet(key: str) -> str:
    if found := re.fullmatch(r"(down|mid|up)_blocks?(?:\.(\d))?\.(\w+?)\.(\d)\.(.+)", key):
        side, block, kind, layer, rest = found[1], int(found[2] or 0), found[3], int(found[4]), found[5]
        if kind == "downsamplers":
            return f"input_blocks.{2 * block + 2}.0.{rest.replace('conv', 'op')}"
        if kind == "upsamplers":
            return f"output_blocks.{2 * block + 1}.1.{rest}"
        if side == "mid":
            place = f"middle_block.{1 if kind == 'attentions' else 2 * layer}"
        else:
            first = f"input_blocks.{2 * block + 1 + layer}" if side == "down" else f"output_blocks.{2 * block + layer}"
            place = f"{first}.{int(kind == 'attentions')}"
        return f"{place}.{rest if kind == 'attentions' else _replaced(rest, EVERYWHERE)}"
    return _replaced(key, EVERYWHERE)


def _coder(key: str) -> str:
    key = re.sub(r"decoder\.up_blocks\.(\d)", lambda found: f"decoder.up.{1 - int(found[1])}", key)
    return _replaced(key, CODER)


def _replaced(key: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for old, new in pairs:
        key = key.replace(old, new)
    return key
