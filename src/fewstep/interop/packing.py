"""Several tensors in one row: how what a backbone is told of an item travels as one condition."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from fewstep.condition import KEEPS
from fewstep.errors import DataError

__all__ = ["BESIDE", "CONTROL", "Packing"]

BESIDE, CONTROL = "beside", "control"  # parts that are no prompt: channels beside those of x, a ControlNet's image


@dataclass(frozen=True)
class Packing:
    """Named tensors of known shapes, one row per item, side by side in a condition (b, width).

    The first number of a row is no part of them: it says which prompt the row is, counted from 1, where somebody
    counts; 0 stands for no prompt at all, so that a row of zeros is the empty condition.  The parts ``beside`` and
    ``control`` are no prompt.  They come last, with the mark ``fewstep.condition.KEEPS`` at the end, so that a row
    without a prompt has them still.
    """

    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, parts: Mapping[str, Tensor]) -> "Packing":
        """Return the packing of tensors (b, ...)."""
        return cls({name: tuple(part.shape[1:]) for name, part in parts.items()})

    @property
    def prompt(self) -> "Packing":
        """The packing of what is the prompt's."""
        return Packing({name: shape for name, shape in self.shapes.items() if name not in (BESIDE, CONTROL)})

    @property
    def keeps(self) -> bool:
        """Whether there is more than a prompt."""
        return BESIDE in self.shapes or CONTROL in self.shapes

    @property
    def width(self) -> int:
        """The length of a row."""
        return 1 + sum(prod(shape) for shape in self.shapes.values()) + self.keeps

    def pack(self, parts: Mapping[str, Tensor], first: int = 1) -> Tensor:
        """Return rows (b, width) in float32, numbered from ``first``.  Raises ``DataError`` for other shapes."""
        found = Packing.of(parts).shapes
        if found != dict(self.shapes):
            raise DataError(
                f"A prompt was encoded as {found}; this model's prompts are {dict(self.shapes)}. Encode it with the "
                "pipeline that the model came from."
            )
        rows = [part.flatten(1).float() for part in parts.values()]
        number = torch.arange(first, first + len(rows[0]), dtype=torch.float32, device=rows[0].device)
        return torch.cat([number[:, None], *rows, *([marks(rows[0])] if self.keeps else [])], 1)

    def unpack(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the tensors (b, ...) of rows (b, width), each contiguous: kernels round strided ones otherwise."""
        sizes = [prod(shape) for shape in self.shapes.values()]
        parts = torch.split(rows[:, 1 : 1 + sum(sizes)], sizes, 1) if sizes else ()
        split = zip(self.shapes, parts, strict=True)
        return {name: part.contiguous().reshape(-1, *self.shapes[name]) for name, part in split}


def ending(parts: Mapping[str, Tensor]) -> Tensor:
    """Return the ends of rows, (b, ...), that keep these parts; a prompt's row belongs before each."""
    rows = [part.flatten(1).float() for part in parts.values()]
    return torch.cat([*rows, marks(rows[0])], 1)


def marks(like: Tensor) -> Tensor:
    """Return the mark of rows that keep something, (b, 1)."""
    return torch.full_like(like[:, :1], KEEPS)
