"""Which two times a consistency cost compares: t, its cleaner neighbour r, and the endpoint s <= r.

The distance from t to r is the discretisation; how it shrinks while training is the curriculum.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fewstep.process import Process
from fewstep.scalars import Progress
from fewstep.times import Law, LogNormal, Schedule, normal_cdf
from fewstep.types import T

__all__ = [
    "Below",
    "Cells",
    "Doubling",
    "Endpoint",
    "Even",
    "Flat",
    "LogNormalCells",
    "Origin",
    "Pairs",
    "Points",
    "Ratio",
    "Segment",
    "SquareRoot",
    "Which",
]


class Pairs(ABC):
    """A law of (t, r) with t > r."""

    @property
    @abstractmethod
    def lowest(self) -> float:
        """The cleanest time, at which a student must be the identity."""

    @abstractmethod
    def draw(self, process: Process, u: T, progress: Progress) -> tuple[T, T]:
        """Map uniform numbers, one per item, to (t, r)."""


class Points(ABC):
    """A discretisation curriculum: how many grid points there are at this stage of the training."""

    @abstractmethod
    def at(self, progress: Progress) -> int:
        """Return the number of points, at least 2."""


@dataclass(frozen=True)
class Even(Points):
    """The same number of points all the time."""

    count: int = 18

    def at(self, progress: Progress) -> int:
        """Return ``count``."""
        return self.count


@dataclass(frozen=True)
class SquareRoot(Points):
    """``n = max(1, ceil(sqrt(k/K ((last + 1)^2 - first^2) + first^2) - 1))`` intervals, ``n + 1`` points.

    Source: consistency training, arXiv 2303.01469, appendix C.
    """

    first: int = 2
    last: int = 150

    def at(self, progress: Progress) -> int:
        """Return ``n + 1``."""
        square = progress.fraction * ((self.last + 1) ** 2 - self.first**2) + self.first**2
        return max(1, math.ceil(math.sqrt(square) - 1)) + 1


@dataclass(frozen=True)
class Doubling(Points):
    """``min(first 2^floor(k / K'), last) + 1`` points with ``K' = floor(K / (log2(last / first) + 1))``.

    Source: iCT, arXiv 2310.14189, section 3.4.
    """

    first: int = 10
    last: int = 1280

    def at(self, progress: Progress) -> int:
        """Return the number of points of this stage."""
        stages = int(math.log2(self.last // self.first)) + 1
        length = max(progress.total // stages, 1)
        return int(min(self.first * 2 ** min(progress.update // length, 62), self.last)) + 1


class Which(ABC):
    """Which cell of a grid is drawn."""

    @abstractmethod
    def cells(self, process: Process, grid: Tensor, u: T) -> Tensor:
        """Map uniform numbers to indices i of the cells [grid[i + 1], grid[i]] of a falling grid."""


@dataclass(frozen=True)
class Flat(Which):
    """Every cell alike.  Source: arXiv 2303.01469, algorithm 2."""

    def cells(self, process: Process, grid: Tensor, u: T) -> Tensor:
        """Return ``floor(u (n - 1))``."""
        cells = len(grid) - 1
        return (u * cells).long().clamp_max(cells - 1)


@dataclass(frozen=True)
class LogNormalCells(Which):
    """``p(i) ~ Phi((ln sigma_i - mean) / std) - Phi((ln sigma_{i+1} - mean) / std)``, noise levels sigma / alpha.

    Source: iCT, arXiv 2310.14189, section 3.5 (there with the error function; the same numbers).
    """

    mean: float = -1.1
    std: float = 2.0

    def cells(self, process: Process, grid: Tensor, u: T) -> Tensor:
        """Invert the cumulated probabilities."""
        level = -process.logsnr(grid) / 2
        mass = normal_cdf((level - self.mean) / self.std)
        share = (mass[:-1] - mass[1:]).cumsum(0)
        return torch.searchsorted(share / share[-1], u).clamp_max(len(grid) - 2)


@dataclass(frozen=True)
class Cells(Pairs):
    """Two neighbours of a grid: t = grid[i], r = grid[i + 1].  Source: arXiv 2303.01469, eq. 7."""

    schedule: Schedule
    points: Points = field(default_factory=Even)
    which: Which = field(default_factory=Flat)

    @property
    def lowest(self) -> float:
        """The last point of the grid."""
        return float(self.schedule.points(2)[-1])

    def draw(self, process: Process, u: T, progress: Progress) -> tuple[T, T]:
        """Draw a cell and return its two ends."""
        grid = self.schedule.points(self.points.at(progress)).to(u.device)
        i = self.which.cells(process, grid, u)
        return grid[i], grid[i + 1]


@dataclass(frozen=True)
class Ratio(Pairs):
    """``r = max(0, t (1 - (1 + k sigmoid(-b t)) / q^(stage + 1)))`` with t from a law.

    The stage rises from 0 by one at even distances, ``stages`` in all; on a clock that is a noise level.
    Source: ECT, arXiv 2406.14548, eq. 17 (k = 8, b = 1) and its CIFAR-10 settings (q = 2, 8 stages).
    """

    law: Law = field(default_factory=LogNormal)
    q: float = 2.0
    stages: int = 8
    k: float = 8.0
    b: float = 1.0

    @property
    def lowest(self) -> float:
        """0, which r reaches in the first stages."""
        return 0.0

    def stage(self, progress: Progress) -> int:
        """Return the stage this update belongs to, from 0."""
        return min(int(progress.fraction * self.stages), self.stages - 1)

    def draw(self, process: Process, u: T, progress: Progress) -> tuple[T, T]:
        """Draw t, then shrink it to r."""
        t = self.law.times(process, u)
        part = (1 + self.k * torch.sigmoid(-self.b * t)) / self.q ** (self.stage(progress) + 1)
        return t, (t * (1 - part)).clamp_min(0)


class Endpoint(ABC):
    """Where both sides of a consistency cost are carried to before they are compared."""

    @abstractmethod
    def draw(self, t: T, r: T, u: T) -> T:
        """Return s <= r for each item; ``u`` are uniform numbers for endpoints that are drawn."""


@dataclass(frozen=True)
class Origin(Endpoint):
    """s = 0: consistency models.  Source: arXiv 2303.01469."""

    def draw(self, t: T, r: T, u: T) -> T:
        """Return 0."""
        return torch.zeros_like(t)


@dataclass(frozen=True)
class Segment(Endpoint):
    """The start of the segment that holds t, but never above r; ``edges`` falling, 0 implied.

    Source: arXiv 2403.06807, algorithm 1.

    A time on an edge belongs to the segment below it, so ``t`` in (edge, next edge] maps to ``edge``.
    """

    edges: tuple[float, ...]

    def draw(self, t: T, r: T, u: T) -> T:
        """Return the largest edge below t, or r where that edge lies above r."""
        rising = torch.tensor((0.0, *sorted(self.edges)), dtype=t.dtype, device=t.device)
        below = rising[(torch.searchsorted(rising, t) - 1).clamp_min(0)]
        return torch.minimum(below, r)


@dataclass(frozen=True)
class Below(Endpoint):
    """Anywhere from 0 to r, uniform on the clock.  Source: CTM, arXiv 2310.02279, algorithm 1 (there on a grid)."""

    def draw(self, t: T, r: T, u: T) -> T:
        """Return ``u r``."""
        return u * r
