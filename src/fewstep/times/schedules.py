"""The times of a path: the schedule that training, sampling and export share."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from fewstep.errors import RecipeError
from fewstep.process import Process
from fewstep.types import T

__all__ = ["Explicit", "Karras", "Rectified", "Schedule", "Trailing", "Uniform", "between", "grid"]


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
    """``high (1 - i / n)^rho``: steps that end at 0, even ones for rho = 1.

    Source: arXiv 2305.08891, table 2 ("trailing"); the power is that of Karras with ``low = 0``.
    """

    high: float
    rho: float = 1.0

    def at(self, place: Tensor) -> Tensor:
        """Return ``high place^rho``."""
        return self.high * place.double().pow(self.rho)

    def points(self, count: int) -> Tensor:
        """Return ``count`` times from ``high`` down to ``high / count^rho``."""
        return self.at(torch.arange(count, 0, -1, dtype=torch.float64) / count)


@dataclass(frozen=True)
class Rectified(Schedule):
    """Even steps on the clock of rectified flow, ``t / (1 + t)``, down to 0, for clocks that are noise levels.

    Few steps go further here than on ``Karras``: most of them fall where a sample is decided.
    Source: arXiv 2209.03003, section 2.1 (uniform steps).
    """

    high: float = 80.0

    def at(self, place: Tensor) -> Tensor:
        """Return the noise level at that share of the way from 0 to ``high``."""
        even = place.double() * (self.high / (1 + self.high))
        return even / (1 - even)

    def points(self, count: int) -> Tensor:
        """Return ``count`` falling times, the first one ``high``."""
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


def grid(schedule: Schedule, cells: int) -> Tensor:
    """Return the ``cells + 1`` falling times at even places of a schedule, from its noisiest to its cleanest."""
    return schedule.at(_ladder(cells + 1))


def between(process: Process, t: T, r: T, steps: int) -> Tensor:
    """Return ``steps + 1`` times (steps + 1, b) from t down to r, even in the logarithm of the noise level.

    Where r is 0 they are even on the clock.
    """
    share = torch.linspace(0, 1, steps + 1, dtype=t.dtype, device=t.device)[:, None]
    on_clock = torch.lerp(t, r, share)
    if steps == 1:
        return on_clock
    here, there = process.logsnr(t), process.logsnr(r)
    even = process.time(torch.lerp(here, torch.where(r > 0, there, here), share).flatten()).reshape(on_clock.shape)
    inner = torch.where(r > 0, even, on_clock)
    return torch.cat([t[None], inner[1:-1], r[None]])
