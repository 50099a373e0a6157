"""The names of layers in kohya's LoRA files, which ComfyUI, Forge, A1111 and sd-scripts read."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fewstep.errors import WeightsError
from fewstep.export.adapter import Adapter
from fewstep.export.kohya_flux import flux_layers, whole_groups

__all__ = ["MODULES", "kohya_base", "kohya_tensors", "kohya_whole"]

MODULES = {"sd": "networks.lora", "sdxl": "networks.lora", "flux": "networks.lora_flux"}  # of sd-scripts, by family
BASES = {"sd": "sd_v1", "sdxl": "sdxl_base_v1-0", "flux": "flux1"}  # likewise
WIDTH_2 = 1024  # of the text states of Stable Diffusion 2; those of 1 have 768

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


def kohya_base(family: str, config: Mapping[str, Any]) -> dict[str, str]:
    """Return what sd-scripts writes of the base of a file.  ``config`` is that of the network."""
    second = family == "sd" and config["cross_attention_dim"] == WIDTH_2
    return {"ss_base_model_version": "sd_v2" if second else BASES[family], "ss_v2": str(second)}


def kohya_whole(adapter: Adapter, family: str, config: Mapping[str, Any]) -> Adapter:
    """Return the adapter as stock diffusers reads it out of such a file.  ``config`` is that of the network.

    Raises ``WeightsError`` for families and layers that it does not read under these names.
    """
    if family not in MODULES:
        raise WeightsError(
            f"Stock diffusers reads kohya's names of Stable Diffusion, Stable Diffusion XL and Flux, and nothing else "
            f"could prove such a file; this is a student of the family {family}. Export it with --form lora (that of "
            "SD3 ComfyUI reads as it is), or with --form folder."
        )
    return whole_groups(adapter, config) if family == "flux" else adapter


def kohya_tensors(adapter: Adapter, family: str, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the content of the file: down, up and alpha of each layer, of an adapter from ``kohya_whole``.

    Layers of Stable Diffusion have diffusers' names with underscores, those of XL and of Flux the names in the network
    that was published, as sd-scripts has them.
    """
    layers = flux_layers(adapter) if family == "flux" else adapter.layers
    found: dict[str, Tensor] = {}
    for name, (down, up) in layers.items():
        theirs = _published(name, int(config["layers_per_block"]), config) if family == "sdxl" else name
        key = "lora_unet_" + theirs.replace(".", "_")
        found |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}
        found[f"{key}.alpha"] = torch.tensor(float(len(down)))
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
