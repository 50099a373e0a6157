"""Numbers that may change while training: every scalar of a recipe can be a plain number or one of these.

A schedule sees only how far its learner is, so a resumed run cannot get out of step.
"""

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from dataclasses import dataclass

from fewstep.errors import RecipeError

__all__ = [
    "Anneal",
    "Balance",
    "Cosine",
    "InverseSqrt",
    "Piecewise",
    "Progress",
    "Rounds",
    "Scalar",
    "Snapshot",
    "scalar",
]


@dataclass(frozen=True)
class Progress:
    """How many updates a learner has made, and how many it is going to make."""

    update: int = 0
    total: int = 1

    @property
    def fraction(self) -> float:
        """Share of the training that is done, in [0, 1]."""
        return min(self.update / max(self.total, 1), 1.0)


class Anneal(ABC):
    """A number as a function of progress."""

    @abstractmethod
    def at(self, progress: Progress) -> float:
        """Return the value at this point of the training."""


Scalar = float | Anneal


def scalar(value: Scalar, progress: Progress) -> float:
    """Return the number that ``value`` stands for now."""
    return value.at(progress) if isinstance(value, Anneal) else float(value)


@dataclass(frozen=True)
class Piecewise(Anneal):
    """Straight lines between ``(fraction of training, value)`` points; constant outside them.

    Warm-up and linear decay are ``Piecewise(((0, 0), (0.1, 1e-3), (1, 0)))``.
    Raises ``RecipeError`` unless the fractions ascend within [0, 1].
    """

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        places = [place for place, _ in self.points]
        if not places or places != sorted(places) or not 0 <= places[0] <= places[-1] <= 1:
            raise RecipeError(
                f"piecewise got the points {list(self.points)}; accepted are (fraction, value) pairs "
                "whose fractions ascend from 0 to 1, for example [[0, 1.0e-3], [0.5, 1.0e-3], [1, 0]]."
            )

    def at(self, progress: Progress) -> float:
        """Return the value on the line at this fraction of the training."""
        now, places = progress.fraction, [place for place, _ in self.points]
        i = bisect_right(places, now)
        if i == 0 or i == len(places):
            return self.points[min(i, len(places) - 1)][1]
        (left, a), (right, b) = self.points[i - 1], self.points[i]
        return a + (b - a) * (now - left) / (right - left)


@dataclass(frozen=True)
class Cosine(Anneal):
    """Half a cosine from ``start`` to ``end``.  Source: SGDR, arXiv 1608.03983, eq. 5 without restarts."""

    start: float
    end: float = 0.0

    def at(self, progress: Progress) -> float:
        """Return ``end + (start - end) (1 + cos(pi f)) / 2``."""
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * progress.fraction)) / 2


@dataclass(frozen=True)
class InverseSqrt(Anneal):
    """``value / sqrt(max(update / after, 1))``.  Source: EDM2, arXiv 2312.02696, eq. 67."""

    value: float
    after: int

    def at(self, progress: Progress) -> float:
        """Return ``value`` until ``after`` updates, then its inverse-square-root decay."""
        return self.value / math.sqrt(max(progress.update / self.after, 1.0))


@dataclass(frozen=True)
class Rounds(Anneal):
    """0 at the last update of each of ``count`` equal rounds, 1 at all others.

    As the decay of an average it takes a snapshot of the weights at the end of every round and holds it for the next
    one, as progressive distillation does with its teacher (arXiv 2202.00512, algorithm 2).
    """

    count: int

    def at(self, progress: Progress) -> float:
        """Return 0 when a round ends with this update."""
        here, after = (
            update * self.count // max(progress.total, 1) for update in (progress.update, progress.update + 1)
        )
        return 0.0 if after > here else 1.0


@dataclass(frozen=True)
class Snapshot(Anneal):
    """0 up to the update with which the ``share`` of the training is done, 1 from there on.

    As the decay of an average it is the weights as they were at that moment, held to the end.
    Raises ``RecipeError`` unless the share is above 0 and at most 1.
    """

    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise RecipeError(f"a snapshot is asked for at {self.share} of the training; accepted is above 0 to 1.")

    def at(self, progress: Progress) -> float:
        """Return 0 as long as the training does not go beyond the share with this update."""
        return 0.0 if progress.update + 1 <= self.share * progress.total else 1.0


@dataclass(frozen=True)
class Balance(Anneal):
    """The weight of a term that makes its gradient ``factor`` times as long as that of the objective's first term.

    Both lengths are measured at the parameter named ``layer`` (a late one), the ratio is held between ``low`` and
    ``high``.  Source: CTM, arXiv 2310.02279, section 4.3, after VQGAN, arXiv 2012.09841, eq. 7.
    """

    layer: str
    factor: Scalar = 1.0
    low: float = 0.0
    high: float = 1e4

    def at(self, progress: Progress) -> float:
        """Return ``factor``; the objective multiplies it by the ratio."""
        return scalar(self.factor, progress)
