"""When: the schedule that training, sampling and export share, and the laws that draw times for training.

A law draws nothing by itself: it maps uniform numbers in (0, 1) to times, so randomness stays an argument.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from fewstep.errors import RecipeError
from fewstep.process import Process
from fewstep.types import T

__all__ = ["Along", "Explicit", "Karras", "Law", "LogNormal", "LogitNormal", "Schedule", "Trailing", "Uniform"]


class Schedule(ABC):
    """The times of a path: ``points(n)`` are where a network is called, ``steps(n)`` adds the end, 0."""

    @abstractmethod
    def at(self, place: Tensor) -> Tensor:
        """Return the time at a place in [0, 1], from the cleanest (0) to the noisiest (1)."""

    @abstractmethod
    def points(self, count: int) -> Tensor:
        """Return ``count`` falling times, float64; raise ``RecipeError`` when the schedule has no such list."""

    def steps(self, count: int) -> Tensor:
        """Return the ``count + 1`` times of a path with ``count`` steps: the points, then 0."""
        if count < 1:
            raise RecipeError(f"{count} steps were asked for; accepted are 1 and more.")
        return torch.cat([self.points(count), torch.zeros(1, dtype=torch.float64)])


def _ladder(count: int) -> Tensor:
    """Return places from 1 down to 0 inclusive; a single place is 1."""
    return torch.linspace(1, 0, count, dtype=torch.float64) if count > 1 else torch.ones(1, dtype=torch.float64)


@dataclass(frozen=True)
class Karras(Schedule):
    """``t_i = (high^(1/rho) + i / (n - 1) (low^(1/rho) - high^(1/rho)))^rho``.

    Source: arXiv 2206.00364, eq. 5 (for clocks that are noise levels).
    """

    low: float = 0.002
    high: float = 80.0
    rho: float = 7.0

    def at(self, place: Tensor) -> Tensor:
        """Return the time at ``place`` of the warped line."""
        low, high = self.low ** (1 / self.rho), self.high ** (1 / self.rho)
        line: Tensor = low + place.double() * (high - low)
        return line.pow(self.rho)

    def points(self, count: int) -> Tensor:
        """Return ``count`` times from ``high`` down to ``low``; a single one is ``high``."""
        return self.at(_ladder(count))


@dataclass(frozen=True)
class Uniform(Schedule):
    """Evenly spaced from ``high`` down to ``low`` inclusive (diffusers' "linspace")."""

    low: float
    high: float

    def at(self, place: Tensor) -> Tensor:
        """Return ``low + place (high - low)``."""
        return self.low + place.double() * (self.high - self.low)

    def points(self, count: int) -> Tensor:
        """Return ``count`` times from ``high`` down to ``low``; a single one is ``high``."""
        return self.at(_ladder(count))


@dataclass(frozen=True)
class Trailing(Schedule):
    """``high (1 - i / n)``: even steps that end at 0.  Source: arXiv 2305.08891, table 2 ("trailing")."""

    high: float

    def at(self, place: Tensor) -> Tensor:
        """Return ``place * high``."""
        return place.double() * self.high

    def points(self, count: int) -> Tensor:
        """Return ``count`` times from ``high`` down to ``high / count``."""
        return self.at(torch.arange(count, 0, -1, dtype=torch.float64) / count)


@dataclass(frozen=True)
class Explicit(Schedule):
    """A list of falling times that a student was trained at, as DMD2 and the Lightning models have.

    Fewer steps than times take every so-manieth time from the first on: of four times, two steps use the first and
    the third.  Raises ``RecipeError`` for more steps than there are times, and for a list that does not fall.
    """

    times: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.times or list(self.times) != sorted(set(self.times), reverse=True) or self.times[-1] <= 0:
            raise RecipeError(
                f"the explicit times are {list(self.times)}; accepted is a list that falls from the noisiest time "
                "to the cleanest, all above 0 (the end, 0, is added by itself)."
            )

    def at(self, place: Tensor) -> Tensor:
        """Return the listed time nearest to that share of the list."""
        count = len(self.times)
        index = ((1 - place.double()) * count).long().clamp(0, count - 1)
        return torch.tensor(self.times, dtype=torch.float64)[index.cpu()].to(place.device)

    def points(self, count: int) -> Tensor:
        """Return ``count`` of the listed times, the first always among them."""
        known = len(self.times)
        if count > known:
            raise RecipeError(
                f"{count} steps were asked for, but this schedule holds {known} times: {list(self.times)}. "
                f"Accepted are 1 to {known} steps; train with a longer list for more."
            )
        return torch.tensor([self.times[i * known // count] for i in range(count)], dtype=torch.float64)


class Law(ABC):
    """A distribution of training times, given by its quantile function."""

    @abstractmethod
    def times(self, process: Process, u: T) -> T:
        """Map uniform numbers in (0, 1), one per item, to times."""


@dataclass(frozen=True)
class LogNormal(Law):
    """``ln(sigma / alpha) ~ N(mean, std^2)`` on any process.  Source: arXiv 2206.00364, table 1."""

    mean: float = -1.2
    std: float = 1.2

    def times(self, process: Process, u: T) -> T:
        """Return the time at that quantile of the noise level, held within the clock."""
        level = self.mean + self.std * torch.special.ndtri(u)
        return process.time(-2 * level).clamp_max(process.t_max)


@dataclass(frozen=True)
class LogitNormal(Law):
    """``logit(t / t_max) ~ N(mean, std^2)``.  Source: arXiv 2403.03206, section 3.1."""

    mean: float = 0.0
    std: float = 1.0

    def times(self, process: Process, u: T) -> T:
        """Return that quantile of the logit-normal law."""
        return process.t_max * torch.sigmoid(self.mean + self.std * torch.special.ndtri(u))


@dataclass(frozen=True)
class Along(Law):
    """Uniform along a schedule between two places, 0 its cleanest end and 1 its noisiest.

    DMD's ``U(0.02, 0.98)`` is ``Along(schedule)``.  Source: arXiv 2311.18828, section 3.2 (0.02 and 0.98).
    """

    schedule: Schedule
    low: float = 0.02
    high: float = 0.98

    def times(self, process: Process, u: T) -> T:
        """Return the schedule's time at ``low + u (high - low)``."""
        return self.schedule.at(self.low + u * (self.high - self.low))


def normal_cdf(x: Tensor) -> Tensor:
    """Return the standard normal distribution function."""
    return (1 + torch.erf(x / math.sqrt(2))) / 2
