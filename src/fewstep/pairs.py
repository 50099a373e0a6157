"""Which two times a consistency cost compares: t and its cleaner neighbour r.

The distance from t to r is the discretisation; ``points`` say how it shrinks while training.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fewstep.points import Even, Points
from fewstep.process import Process
from fewstep.scalars import Progress
from fewstep.times import Law, LogNormal, Schedule, grid, normal_cdf
from fewstep.types import T

__all__ = [
    "Cells",
    "Dyadic",
    "Flat",
    "Leaps",
    "LogNormalCells",
    "Midpoints",
    "Moment",
    "Pairs",
    "Ratio",
    "ToData",
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
    """Two neighbours of a grid: t = grid[i], r = grid[i + 1].  Source: arXiv 2303.01469, eq. 7.

    ``through`` are times at which the student will be sampled: the nearest points of the grid, but for the last, are
    moved there, so that they are trained.
    """

    schedule: Schedule
    points: Points = field(default_factory=Even)
    which: Which = field(default_factory=Flat)
    through: tuple[float, ...] = ()

    @property
    def lowest(self) -> float:
        """The last point of the grid."""
        return float(grid(self.schedule, 1)[-1])

    def draw(self, process: Process, u: T, progress: Progress) -> tuple[T, T]:
        """Draw a cell and return its two ends."""
        falling = self._ends(self.points.at(progress) - 1).to(u.device)
        i = self.which.cells(process, falling, u)
        return falling[i], falling[i + 1]

    def _ends(self, cells: int) -> Tensor:
        falling = grid(self.schedule, cells)
        if not self.through:
            return falling
        times = torch.tensor(sorted({*self.through}), dtype=falling.dtype)
        kept = torch.ones_like(falling, dtype=torch.bool)
        kept[(falling[:-1, None] - times).abs().argmin(0)] = False
        return torch.cat([falling[kept], times[times > falling[-1]]]).sort(descending=True).values


@dataclass(frozen=True)
class Leaps(Pairs):
    """Two points of a grid, n cells apart: ``p(n) ~ n^power`` for n up to ``most``, then one of these pairs at random.

    Source: CTM, arXiv 2310.02279, appendix C (power 1; there one n for the whole batch, the number of solver steps).
    """

    schedule: Schedule
    most: int
    points: Points = field(default_factory=Even)
    power: float = 1.0

    @property
    def lowest(self) -> float:
        """The last point of the grid."""
        return float(grid(self.schedule, 1)[-1])

    def draw(self, process: Process, u: T, progress: Progress) -> tuple[T, T]:
        """Draw n by the first part of u, the place by what is left of it."""
        falling = grid(self.schedule, self.points.at(progress) - 1).to(u.device)
        most = min(self.most, len(falling) - 1)
        weights = torch.arange(1, most + 1, dtype=u.dtype, device=u.device) ** self.power
        mass = torch.cat([torch.zeros_like(u[:1]), weights.cumsum(0) / weights.sum()])
        n = torch.searchsorted(mass, u).clamp(1, most)
        rest = (u - mass[n - 1]) / (mass[n] - mass[n - 1])
        i = torch.minimum((rest * (len(falling) - n)).long(), len(falling) - 1 - n)
        return falling[i], falling[i + n]


@dataclass(frozen=True)
class Midpoints(Pairs):
    """t = a point of a grid, r = the middle of the cell below it, by place on the schedule.

    With ``Segments`` on the same grid s is the other end of the cell: two half steps against one whole one.
    Source: progressive distillation, arXiv 2202.00512, algorithm 2.
    """

    schedule: Schedule
    points: Points = field(default_factory=Even)

    @property
    def lowest(self) -> float:
        """The last point of the grid."""
        return float(grid(self.schedule, 1)[-1])

    def draw(self, process: Process, u: T, progress: Progress) -> tuple[T, T]:
        """Draw a cell and return its upper end and its middle."""
        cells = self.points.at(progress) - 1
        fine = grid(self.schedule, 2 * cells).to(u.device)
        i = 2 * (u * cells).long().clamp_max(cells - 1)
        return fine[i], fine[i + 1]


@dataclass(frozen=True)
class Dyadic(Pairs):
    """The upper half of a step of ``high / n``: n is 1, 2, 4, ... up to ``most``, t a multiple of the step.

    With the endpoint ``opposite`` two half steps stand against one whole one, for every length of step.
    Source: shortcut models, arXiv 2410.12557, section 3.2 (sizes 1, 1/2, ..., 1/64 alike).
    """

    high: float
    most: int = 64

    @property
    def lowest(self) -> float:
        """0."""
        return 0.0

    def draw(self, process: Process, u: T, progress: Progress) -> tuple[T, T]:
        """Draw n by the first part of u, the multiple by what is left of it."""
        levels = self.most.bit_length()
        n = 2.0 ** (u * levels).floor().clamp_max(levels - 1)
        i = ((u * levels) % 1 * n).floor() + 1
        return self.high * i / n, self.high * (i - 0.5) / n


@dataclass(frozen=True)
class Moment(Pairs):
    """One time for every item: t, and r a share below it.  For costs that tie a student down at a boundary.

    Source: TCM, arXiv 2410.14895, section 4.1 (the boundary t').
    """

    time: float
    ratio: float = 1.0

    @property
    def lowest(self) -> float:
        """0: such a cost says nothing about the clean end."""
        return 0.0

    def draw(self, process: Process, u: T, progress: Progress) -> tuple[T, T]:
        """Return the time, and it again times ``ratio``."""
        t = torch.full_like(u, self.time)
        return t, t * self.ratio


@dataclass(frozen=True)
class ToData(Pairs):
    """t from a law, and r = 0: the rest of the way in one step."""

    law: Law

    @property
    def lowest(self) -> float:
        """0."""
        return 0.0

    def draw(self, process: Process, u: T, progress: Progress) -> tuple[T, T]:
        """Return the law's time, and 0."""
        t = self.law.times(process, u)
        return t, torch.zeros_like(t)


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
