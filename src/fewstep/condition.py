"""What "no condition" looks like: -1 for a class label, a zero vector for an embedding, None for nothing.

A row of numbers may end with ``KEEPS``: then it is a prompt with something that has nothing to do with whether there is
a prompt (the image that is to be edited, say).  "No prompt" of such a row is the same row with its first number at 0:
whoever reads it puts the empty prompt in the place of the prompt, and finds the rest untouched.
"""

import torch
from torch import Tensor

from fewstep.types import Cond

__all__ = ["KEEPS", "bare", "drop", "keeps", "null"]

KEEPS = -(2.0**100)  # no measured number is so large; every floating-point type but float16 holds it exactly


def null(c: Cond) -> Cond:
    """Return the empty condition of the same shape as ``c``: no prompt, but what a row keeps."""
    if c is None:
        return None
    if not c.is_floating_point():
        return torch.full_like(c, -1)
    return torch.where(keeps(c), _without(c, c[:, 1:]), 0.0) if c.ndim == 2 else torch.zeros_like(c)


def bare(c: Cond) -> Cond:
    """Return the empty condition without what rows keep, too: zeros, up to the mark."""
    if c is None or c.ndim != 2 or not c.is_floating_point():
        return null(c)
    return torch.where(keeps(c), _without(c, torch.cat([torch.zeros_like(c[:, 1:-1]), c[:, -1:]], 1)), 0.0)


def keeps(c: Tensor) -> Tensor:
    """Say of rows (b, width) whether they keep something, (b, 1)."""
    return c[:, -1:] == KEEPS


def _without(c: Tensor, rest: Tensor) -> Tensor:
    """Return rows whose first number is 0."""
    return torch.cat([torch.zeros_like(c[:, :1]), rest], 1)


def drop(c: Cond, mask: Tensor) -> Cond:
    """Replace the conditions at which ``mask`` (batch,) is true by the empty one."""
    empty = null(c)
    if c is None or empty is None:
        return None
    return torch.where(mask.reshape(-1, *(1 for _ in c.shape[1:])), empty, c)
