"""The laws that draw times for training.

A law draws nothing by itself: it maps uniform numbers in (0, 1) to times, so randomness stays an argument.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fewstep.errors import RecipeError
from fewstep.process import Process
from fewstep.times.schedules import Schedule
from fewstep.types import T

__all__ = ["Along", "Law", "LogNormal", "LogStudentT", "LogitNormal", "Milestones", "Next", "Straight", "normal_cdf"]


class Law(ABC):
    """A distribution of training times, given by its quantile function."""

    @abstractmethod
    def times(self, process: Process, u: T) -> T:
        """Map uniform numbers in (0, 1), one per item, to times."""

    def after(self, process: Process, u: T, made: Callable[[], T]) -> T:
        """Return times for items that calls at the times ``made()`` have made: the same, unless the law asks."""
        return self.times(process, u)


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


@dataclass(frozen=True)
class Straight(Law):
    """Uniform on the clock of rectified flow, ``sigma / (alpha + sigma)``, between two of its times, on any process.

    Source: arXiv 2209.03003, eq. 1 (t uniform).
    """

    low: float = 0.0
    high: float = 1.0

    def times(self, process: Process, u: T) -> T:
        """Return the time at which ``sigma / (alpha + sigma)`` is that far between the two ends."""
        place = self.low + u * (self.high - self.low)
        return process.time(2 * (1 - place).log() - 2 * place.log()).clamp_max(process.t_max)


@dataclass(frozen=True)
class LogStudentT(Law):
    """``ln(sigma / alpha)`` follows Student's t law, cut to noise levels between ``low`` and ``high``.

    Few degrees of freedom make it nearly flat far from ``mean``.  Inverted on a grid of 4,001 levels.
    Source: TCM, arXiv 2410.14895, section 4.2 (df = 0.01, std = 0.2).
    """

    low: float
    high: float
    df: float = 0.01
    mean: float = 0.0
    std: float = 0.2

    def times(self, process: Process, u: T) -> T:
        """Return the time at that quantile of the noise level."""
        ends = math.log(self.low), math.log(self.high)
        level = torch.linspace(*ends, 4001, dtype=torch.float64, device=u.device)
        density = (1 + ((level - self.mean) / self.std) ** 2 / self.df) ** (-(self.df + 1) / 2)
        mass = torch.cat([torch.zeros_like(u[:1]), ((density[1:] + density[:-1]) / 2).cumsum(0)])
        right = torch.searchsorted(mass, u * mass[-1]).clamp(1, 4000)
        part = (u * mass[-1] - mass[right - 1]) / (mass[right] - mass[right - 1])
        return process.time(-2 * torch.lerp(level[right - 1], level[right], part)).clamp_max(process.t_max)


@dataclass(frozen=True)
class Milestones(Law):
    """Each of the times at which a student of ``steps`` steps is called, alike."""

    schedule: Schedule
    steps: int

    def times(self, process: Process, u: T) -> T:
        """Return one of the schedule's points."""
        points = self.schedule.points(self.steps).to(u.device)
        return points[(u * self.steps).long().clamp_max(self.steps - 1)]


@dataclass(frozen=True)
class Next(Law):
    """Where the sampler goes next: one of ``steps`` even steps further down a schedule than the call of an item.

    At its end where there is no further.  Source: UFOGen, arXiv 2311.09257 (``s = t - T / N``).
    """

    schedule: Schedule
    steps: int = 4

    def times(self, process: Process, u: T) -> T:
        """Raise ``RecipeError``: there is no next time without a call."""
        raise RecipeError(
            "the law 'next' follows the call that made a sample, and none did. Accepted is it in 'adversarial', "
            "'discriminate' and 'approximate_r1'; draw these times from another law, for example along."
        )

    def after(self, process: Process, u: T, made: Callable[[], T]) -> T:
        """Return the schedule's time at the place of the call less ``1 / steps``; the place is found by bisection."""
        t = made()
        low, high = torch.zeros_like(t), torch.ones_like(t)
        for _ in range(50):
            middle = (low + high) / 2
            below = self.schedule.at(middle) < t
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return self.schedule.at((high - 1 / self.steps).clamp_min(0))


def normal_cdf(x: Tensor) -> Tensor:
    """Return the standard normal distribution function."""
    return (1 + torch.erf(x / math.sqrt(2))) / 2
