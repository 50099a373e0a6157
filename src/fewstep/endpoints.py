"""Where both sides of a consistency cost are carried to before they are compared: s <= r < t."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from fewstep.points import Even, Points
from fewstep.scalars import Progress
from fewstep.times import Schedule, grid
from fewstep.types import T

__all__ = ["Beneath", "Endpoint", "OnGrid", "Opposite", "Origin", "Segments"]

ROUNDING = 1e-9  # a time of one grid that is a time of another is off by as little as this


class Endpoint(ABC):
    """A rule for s; ``reach`` says in a word where a student that learned with it can jump to."""

    reach: ClassVar[str]

    @abstractmethod
    def draw(self, t: T, r: T, u: T, progress: Progress) -> T:
        """Return s <= r for each item; ``u`` are uniform numbers for endpoints that are drawn."""


@dataclass(frozen=True)
class Origin(Endpoint):
    """s = 0: consistency models.  Source: arXiv 2303.01469."""

    reach = "0"

    def draw(self, t: T, r: T, u: T, progress: Progress) -> T:
        """Return 0."""
        return torch.zeros_like(t)


@dataclass(frozen=True)
class Segments(Endpoint):
    """The start of the segment that holds t, but never above r; the path is cut at even places of a schedule.

    A time on an edge belongs to the segment below it; the lowest edge is 0.  ``points`` counts the edges with both
    ends, so ``even: 5`` makes four segments; a curriculum ties segments together while training.
    Source: multistep consistency models, arXiv 2403.06807, algorithm 1; curriculum: MLCM, arXiv 2406.05768.
    """

    schedule: Schedule
    points: Points = field(default_factory=Even)

    reach = "segment"

    def draw(self, t: T, r: T, u: T, progress: Progress) -> T:
        """Return the largest edge below t, or r where that edge lies above r."""
        rising = _down_to_0(self.schedule, self.points.at(progress)).flip(0).to(t)
        below = rising[(torch.searchsorted(rising, t * (1 - ROUNDING)) - 1).clamp_min(0)]
        return torch.minimum(below, r)


@dataclass(frozen=True)
class OnGrid(Endpoint):
    """Any point of a grid that is not above r, 0 among them, all alike; for all but a ``share`` of the items r itself.

    Source: CTM, arXiv 2310.02279, algorithm 1 (share 1).
    """

    schedule: Schedule
    points: Points = field(default_factory=Even)
    share: float = 1.0

    reach = "any"

    def draw(self, t: T, r: T, u: T, progress: Progress) -> T:
        """Return one of the points from 0 up to r."""
        rising = _down_to_0(self.schedule, self.points.at(progress)).flip(0).to(t)
        allowed = torch.searchsorted(rising, r * (1 + ROUNDING), right=True)
        index = (u / self.share * allowed).long().clamp_max(len(rising) - 1)
        return torch.where(u < self.share, torch.minimum(rising[index], r), r)


@dataclass(frozen=True)
class Opposite(Endpoint):
    """As far below r as t is above it, and not below 0.  Source: shortcut models, arXiv 2410.12557, eq. 4."""

    reach = "any"

    def draw(self, t: T, r: T, u: T, progress: Progress) -> T:
        """Return ``2 r - t``."""
        return (2 * r - t).clamp_min(0)


@dataclass(frozen=True)
class Beneath(Endpoint):
    """With probability ``share`` any part of the way, ``s = r u^power`` with u uniform; else r itself.

    A power above 1 favours long jumps.  Source: MeanFlow, arXiv 2505.13447, section 4.2 (share 0.25 to 0.75; the rest
    is flow matching).  *Ours*: the law of s, which gives every t jumps of all lengths.
    """

    power: float = 1.0
    share: float = 1.0

    reach = "any"

    def draw(self, t: T, r: T, u: T, progress: Progress) -> T:
        """Return a part of r, or r."""
        return torch.where(u < self.share, r * (u / self.share).clamp_max(1) ** self.power, r)


def _down_to_0(schedule: Schedule, points: int) -> Tensor:
    """Return the points of a grid whose last one counts as 0."""
    falling = grid(schedule, points - 1)
    falling[-1] = 0.0
    return falling
