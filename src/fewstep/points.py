"""Discretisation curricula: into how many cells a path is cut, and how that changes while training."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from fewstep.errors import RecipeError
from fewstep.scalars import Progress

__all__ = ["Doubling", "Even", "Exponential", "Halving", "Points", "SquareRoot"]


class Points(ABC):
    """A discretisation curriculum: how many grid points there are at this stage of the training."""

    @property
    def stages(self) -> int:
        """How many different numbers there are; a training has at least as many updates."""
        return 1

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

    @property
    def stages(self) -> int:
        """One for each number of intervals, from ``first - 1`` on."""
        return self.last - max(self.first - 1, 1) + 1

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

    @property
    def stages(self) -> int:
        """One more than there are doublings."""
        return int(math.log2(self.last // self.first)) + 1

    def at(self, progress: Progress) -> int:
        """Return the number of points of this stage."""
        length = max(progress.total // self.stages, 1)
        return int(min(self.first * 2 ** min(progress.update // length, 62), self.last)) + 1


@dataclass(frozen=True)
class Exponential(Points):
    """``first (last / first)^min(f / until, 1)`` intervals at the fraction f of the training, rounded to ``multiple``.

    Source: multistep consistency models, arXiv 2403.06807, algorithm 1 (64 to 1,280, a multiple of the segments).
    """

    first: int = 64
    last: int = 1280
    multiple: int = 1
    until: float = 0.5

    def at(self, progress: Progress) -> int:
        """Return the number of points, one more than there are intervals."""
        exact = self.first * (self.last / self.first) ** min(progress.fraction / self.until, 1.0)
        return int(max(round(exact / self.multiple), 1) * self.multiple + 1)


@dataclass(frozen=True)
class Halving(Points):
    """``first`` intervals, then half as many, and so on, in ``rounds`` equal parts of the training.

    Source: progressive distillation, arXiv 2202.00512, algorithm 2.
    Raises ``RecipeError`` when ``first`` cannot be halved so often.
    """

    first: int = 8
    rounds: int = 4

    def __post_init__(self) -> None:
        if self.first % 2 ** (self.rounds - 1):
            raise RecipeError(
                f"{self.first} intervals cannot be halved {self.rounds - 1} times; accepted are multiples of "
                f"{2 ** (self.rounds - 1)}, or fewer rounds."
            )

    @property
    def stages(self) -> int:
        """One for each round."""
        return self.rounds

    def at(self, progress: Progress) -> int:
        """Return the number of points of this round."""
        return int(self.first // 2 ** min(int(progress.fraction * self.rounds), self.rounds - 1)) + 1
