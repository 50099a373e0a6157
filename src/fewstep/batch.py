"""What a training step is fed."""

from dataclasses import dataclass

import torch

from fewstep.types import Cond, X

__all__ = ["Batch"]


@dataclass(frozen=True)
class Batch:
    """Items x0 (b, ...), their conditions c (b, ...) or None, and for stored pairs the noise z they belong to."""

    x0: X
    c: Cond = None
    z: X | None = None

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on that device."""
        c, z = self.c, self.z
        return Batch(
            self.x0.to(device, non_blocking=True),
            None if c is None else c.to(device, non_blocking=True),
            None if z is None else z.to(device, non_blocking=True),
        )

    def cut(self, start: int, stop: int) -> "Batch":
        """Return the items from ``start`` to ``stop``."""
        c, z = self.c, self.z
        return Batch(
            self.x0[start:stop],
            None if c is None else c[start:stop],
            None if z is None else z[start:stop],
        )
