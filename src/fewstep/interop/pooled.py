"""Fewer keys and values in the self-attention of a backbone that was trained with all of them."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from torch import Tensor, nn

from fewstep.errors import RecipeError
from fewstep.interop.families import FAMILIES, Family
from fewstep.networks import token_pools
from fewstep.tapped import changing

__all__ = ["pooled", "pools_for"]


def pools_for(family: Family, config: Any, stride: int, layers: Sequence[int] | None, norm: bool) -> nn.ModuleDict:
    """Return pools for layers of a backbone with that configuration, by number: ``fewstep.networks.token_pools``.

    They are no part of the backbone, which stays what diffusers knows.
    Raises ``RecipeError`` for families whose self-attention is not one of patches alone.
    """
    if stride == 1:
        return nn.ModuleDict()
    if not family.KEYS:
        able = ", ".join(each.name for each in FAMILIES if each.KEYS)
        raise RecipeError(
            f"kv_stride: {stride} pools keys over cells of patches, but a {family.MODEL} (family {family.name}) has no "
            f"self-attention of patches alone. Leave it out; accepted are the families {able}."
        )
    return token_pools(config.num_attention_heads * config.attention_head_dim, config.num_layers, stride, layers, norm)


def pooled(backbone: Any, keys: str, pools: nn.ModuleDict, x: Tensor) -> AbstractContextManager[None]:
    """Let a backbone's layers that have a pool attend to fewer keys and values of latents x (b, channels, h, w).

    ``keys`` is where the self-attention of layer {} is.
    """
    patch = backbone.config.patch_size
    grid = (x.shape[2] // patch, x.shape[3] // patch)
    changes = {
        f"{keys.format(layer)}.{part}": partial(pool, grid=grid)
        for layer, pool in pools.items()
        for part in ("to_k", "to_v")
    }
    return changing(backbone, changes)
