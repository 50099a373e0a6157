"""The layers of Flux under the names that it was published with: queries, keys and values are one layer there."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fewstep.errors import WeightsError
from fewstep.export.adapter import Adapter

__all__ = ["flux_layers", "whole_groups"]

Group = tuple[str, ...]
QKV: Group = ("attn.to_q", "attn.to_k", "attn.to_v")
DOUBLE: Mapping[str, Group] = {  # of a block in which text and image have weights of their own
    "img_attn_qkv": QKV,
    "img_attn_proj": ("attn.to_out.0",),
    "img_mlp_0": ("ff.net.0.proj",),
    "img_mlp_2": ("ff.net.2",),
    "img_mod_lin": ("norm1.linear",),
    "txt_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "txt_attn_proj": ("attn.to_add_out",),
    "txt_mlp_0": ("ff_context.net.0.proj",),
    "txt_mlp_2": ("ff_context.net.2",),
    "txt_mod_lin": ("norm1_context.linear",),
}
SINGLE: Mapping[str, Group] = {
    "linear1": (*QKV, "proj_mlp"),
    "linear2": ("proj_out",),
    "modulation_lin": ("norm.linear",),
}
KINDS = {"transformer_blocks": ("double_blocks", DOUBLE), "single_transformer_blocks": ("single_blocks", SINGLE)}
WIDER = {"proj_mlp": 4}  # how many times the width of a block comes out of a layer that is fused; of others once
WIDTH = 3072  # the one that diffusers splits ``linear1`` at, whatever the pipeline's own is


def whole_groups(adapter: Adapter, config: Mapping[str, Any]) -> Adapter:
    """Return the adapter as stock diffusers reads it out of the file: with zeros for the layers of a fused one that
    were not trained.  ``config`` is that of the transformer.

    Raises ``WeightsError`` for layers that it drops or cannot read: those outside the blocks, and the fused ones of
    the single blocks in a Flux of another width than the published one.
    """
    if dropped := sorted(name for name in adapter.layers if _home(name) is None):
        raise WeightsError(
            f"Of a Flux file in kohya's names stock diffusers drops {len(dropped)} of the adapter's layers: those "
            f"outside the blocks, such as {dropped[0]}. Export it with --form lora, which ComfyUI reads whole, or "
            "distil an adapter of the blocks alone (--set 'learners.student.lora={rank: 64, targets: "
            "[transformer_blocks]}')."
        )
    width, homes = int(config["num_attention_heads"]) * int(config["attention_head_dim"]), _homes(adapter)
    if width != WIDTH and any(_last(name) in WIDER for names in homes.values() for name in names):
        raise WeightsError(
            f"Of a Flux file in kohya's names stock diffusers reads the queries, keys and values of single blocks at "
            f"the published width of {WIDTH} only; this pipeline has {width}. Export it with --form lora, which "
            "ComfyUI reads as it is."
        )
    layers = dict(adapter.layers)
    for names in homes.values():
        down = next(layers[name][0] for name in names if name in layers)
        for name in names:
            rows = width * WIDER.get(_last(name), 1)
            layers.setdefault(name, (torch.zeros_like(down), down.new_zeros(rows, adapter.rank)))
    return Adapter(dict(sorted(layers.items())), adapter.rank)


def flux_layers(adapter: Adapter) -> dict[str, tuple[Tensor, Tensor]]:
    """Return A and B by the published names, of an adapter from ``whole_groups``.

    Of layers that are one there, A holds theirs one below the other, and B theirs along the diagonal: the product is
    then theirs one below the other, exactly.
    """
    found = {}
    for theirs, names in _homes(adapter).items():
        downs, ups = zip(*(adapter.layers[name] for name in names), strict=True)
        found[theirs] = (torch.cat(downs), torch.block_diag(*ups))  # type: ignore[no-untyped-call]
    return found


def _homes(adapter: Adapter) -> dict[str, Group]:
    """Return the layers of diffusers that each published one holds, of those that the adapter changes."""
    return dict(home for home in map(_home, adapter.layers) if home is not None)


def _home(name: str) -> tuple[str, Group] | None:
    """Return the published layer that holds one of diffusers', and all that it holds, in the order of its rows.

    None for a layer outside the blocks.
    """
    found = re.fullmatch(r"(\w+)\.(\d+)\.(.+)", name)
    if found is None or found[1] not in KINDS:
        return None
    kind, layers = KINDS[found[1]]
    for theirs, ours in layers.items():
        if found[3] in ours:
            return f"{kind}_{found[2]}_{theirs}", tuple(f"{found[1]}.{found[2]}.{inner}" for inner in ours)
    return None


def _last(name: str) -> str:
    return name.rpartition(".")[2]
