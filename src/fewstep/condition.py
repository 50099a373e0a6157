"""What "no condition" looks like: -1 for a class label, a zero vector for an embedding, None for nothing."""

import torch
from torch import Tensor

from fewstep.types import Cond

__all__ = ["drop", "null"]


def null(c: Cond) -> Cond:
    """Return the empty condition of the same shape as ``c``."""
    if c is None:
        return None
    return torch.zeros_like(c) if c.is_floating_point() else torch.full_like(c, -1)


def drop(c: Cond, mask: Tensor) -> Cond:
    """Replace the conditions at which ``mask`` (batch,) is true by the empty one."""
    empty = null(c)
    if c is None or empty is None:
        return None
    return torch.where(mask.reshape(-1, *(1 for _ in c.shape[1:])), empty, c)
