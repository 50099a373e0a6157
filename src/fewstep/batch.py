"""What a training step is fed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from fewstep.types import Cond, X

__all__ = ["Batch", "States"]

States: TypeAlias = Float[Tensor, "batch states *dims"]
"""Several states of each item, (batch, states, ...), from the noisiest to the cleanest."""


@dataclass(frozen=True)
class Batch:
    """Items x0 (b, ...), their conditions c (b, ...) or None, and for stored pairs the noise z they belong to.

    ``path`` (b, k, ...) is where the teacher passed on the way from z to x0: its states at k falling times, the
    starting point included and x0 left out; None when only the ends are kept.
    """

    x0: X
    c: Cond = None
    z: X | None = None
    path: States | None = None

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on that device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def cut(self, start: int, stop: int) -> "Batch":
        """Return the items from ``start`` to ``stop``."""
        return self._each(lambda tensor: tensor[start:stop])

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        c, z, path = (None if tensor is None else change(tensor) for tensor in (self.c, self.z, self.path))
        return Batch(change(self.x0), c, z, path)
