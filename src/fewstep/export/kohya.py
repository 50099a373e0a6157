"""The names of layers in kohya's LoRA files, which ComfyUI, Forge, A1111 and sd-scripts read."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fewstep.errors import WeightsError
from fewstep.export.adapter import Adapter

__all__ = ["kohya_tensors"]

TOPS = {  # outside the blocks, in the U-Net that Stable Diffusion XL was published with
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
INNER = {  # within a residual block
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def kohya_tensors(adapter: Adapter, family: str, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the content of the file: down, up and alpha of each layer.  ``config`` is that of the U-Net.

    Layers of Stable Diffusion have diffusers' names with underscores, those of XL the names in the U-Net that was
    published, as sd-scripts has them.  Raises ``WeightsError`` for other families.
    """
    if family not in ("sd", "sdxl"):
        raise WeightsError(
            f"Kohya's names are those of the U-Nets of Stable Diffusion and Stable Diffusion XL; this is a student of "
            f"the family {family}. Export it with --form lora, which ComfyUI reads for SD3 and Flux as it is, or with "
            "--form folder."
        )
    found: dict[str, Tensor] = {}
    for name, (down, up) in adapter.layers.items():
        theirs = _published(name, int(config["layers_per_block"]), config) if family == "sdxl" else name
        key = "lora_unet_" + theirs.replace(".", "_")
        found |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}
        found[f"{key}.alpha"] = torch.tensor(float(adapter.rank))
    return found


def _published(name: str, layers: int, config: Mapping[str, Any]) -> str:
    """Return the name of a layer of diffusers' U-Net in the published one."""
    if name in TOPS:
        return TOPS[name]
    if found := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)", name):
        place = 1 if found[1] == "attentions" else 2 * int(found[2])
        return f"middle_block.{place}.{_inner(found[3])}"
    found = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)", name)
    if found is None:
        raise WeightsError(f"Kohya's files have no name for the layer {name}. Export with --form lora or folder.")
    side, block, kind, place = found[1], int(found[2]), found[3], int(found[4])
    if kind == "downsamplers":
        return f"input_blocks.{(block + 1) * (layers + 1)}.0.op"
    if kind == "upsamplers":
        attends = "Attn" in config["up_block_types"][block]
        return f"output_blocks.{block * (layers + 1) + layers}.{2 if attends else 1}.{found[5]}"
    which = int(kind == "attentions")
    first = 1 if side == "down" else 0
    way = "input" if side == "down" else "output"
    return f"{way}_blocks.{first + block * (layers + 1) + place}.{which}.{_inner(found[5])}"


def _inner(rest: str) -> str:
    return INNER.get(rest, rest)
