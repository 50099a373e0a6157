"""Handwritten digits that move: short clips, each from one real scan, made without a download."""

import math
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from fewstep.batch import Batch
from fewstep.data.base import Data, digest
from fewstep.data.digits import Digits

__all__ = ["MovingDigits"]

FRAMES = 4
SLOWEST, FASTEST = 0.4, 1.0  # pixels from frame to frame: 1.2 to 3 over a clip, more would push a digit out
TURN = 8.0  # degrees from frame to frame, at most, either way
LEVELS = 128  # per unit: values are rounded, so that the last bits of an interpolation do not count


@final
class MovingDigits(Data):
    """1,797 clips of 4 frames of 8x8, one from each scan of ``Digits``, with the frames in the place of channels.

    Each digit drifts in a direction of its own, at 0.4 to 1 pixel a frame, and turns by up to 8 degrees a frame;
    halfway through it stands where it was scanned.  Direction, speed and turn are drawn from ``seed``, whatever the
    class.
    Values are multiples of 1/128 in [-1, 1]; what comes in from outside is paper, -1.
    """

    name = "moving-digits"
    shape = (FRAMES, 8, 8)
    classes = Digits.classes

    def __init__(self, seed: int = 0) -> None:
        self._scans = Digits()
        count = len(self._scans)
        draws = torch.rand(count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        self._x0 = _clips(self._scans.batch(range(count)).x0, draws)

    def __len__(self) -> int:
        return len(self._x0)

    def batch(self, indices: Sequence[int]) -> Batch:
        return Batch(self._x0[torch.as_tensor(indices, dtype=torch.long)], self.conditions(indices))

    def conditions(self, indices: Sequence[int]) -> Tensor:
        return self._scans.conditions(indices)

    def describe(self) -> dict[str, str]:
        return {
            "data": "moving-digits: handwritten digits of scikit-learn that drift and turn",
            "items": f"{len(self):,} grey clips of {FRAMES} frames of 8x8",
            "condition": "10 classes: 0 to 9",
        }

    def fingerprint(self) -> str:
        return digest([self._x0.numpy().tobytes(), self.conditions(range(len(self))).numpy().tobytes()])


def _clips(scans: Tensor, draws: Tensor) -> Tensor:
    """Return clips (n, frames, h, w) of scans (n, 1, h, w); ``draws`` (n, 3) in [0, 1) are direction, speed, turn."""
    frames = []
    for time in range(FRAMES):
        place = _places(draws, time - (FRAMES - 1) / 2, scans.shape[-1])
        grid = affine_grid(place, list(scans.shape), align_corners=False)
        frames.append(grid_sample((scans + 1).double(), grid, padding_mode="zeros", align_corners=False))
    return ((torch.cat(frames, 1) * LEVELS).round() / LEVELS - 1).float()


def _places(draws: Tensor, time: float, size: int) -> Tensor:
    """Return the maps (n, 2, 3) from places of the frame at ``time`` to places of the scan, in halves of its side."""
    direction, turn = 2 * math.pi * draws[:, 0], math.radians(TURN) * (2 * draws[:, 2] - 1) * time
    way = (SLOWEST + (FASTEST - SLOWEST) * draws[:, 1]) * time * 2 / size
    cos, sin = turn.cos(), turn.sin()
    x, y = -way * direction.cos(), -way * direction.sin()
    rows = [torch.stack([cos, sin, cos * x + sin * y], 1), torch.stack([-sin, cos, cos * y - sin * x], 1)]
    return torch.stack(rows, 1)
