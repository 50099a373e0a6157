"""Any path on the clock of noise levels: what a recipe written for EDM needs of a network that learned elsewhere."""

import math
from dataclasses import dataclass

import torch

from fewstep.predict import Prediction
from fewstep.process import NoiseLevel, Process, over
from fewstep.times import Schedule
from fewstep.types import T, X

__all__ = ["AtHome", "Levels", "OffLevels", "OnLevels"]

HIGHEST = 80.0  # EDM's, arXiv 2206.00364: beyond it nothing of the data is left to see


@dataclass(frozen=True)
class Levels(NoiseLevel):
    """``x_t = x0 + t z`` like EDM, for a network that lives on the path ``home``.

    The clock is the noise level ``sigma / alpha`` of that path and ends where it does, at 80 at the latest; the label
    is that of the home path at the same level.
    """

    home: Process
    sigma_data: float = 1.0

    @property
    def t_max(self) -> float:
        """The noise level at which the home path ends."""
        end = torch.tensor([self.home.t_max], dtype=torch.float64)
        return min(HIGHEST, float(level(self.home, end)))

    def prior(self, z: X, t: T) -> X:
        """Return what stock samplers of the home path start from, unit noise wherever that is, as it looks here."""
        return z / over(self.home.alpha(there(self.home, t)), z)

    @property
    def least(self) -> float:
        """The noise level of the home path's least time."""
        return float(level(self.home, torch.tensor([self.home.least], dtype=torch.float64)))

    def entry(self, t: T) -> T:
        """Return the noisiest level up to t at which the samplers of the home path can ask."""
        return level(self.home, self.home.entry(there(self.home, t.clamp_max(self.t_max))))

    def earlier(self, t: T, eta: float) -> T:
        """Return the level of the home path's earlier time: its clock counts, not the level."""
        return level(self.home, self.home.earlier(there(self.home, t), eta))

    def label(self, t: T) -> T:
        """Return the home path's label at the level t."""
        return self.home.label(there(self.home, t))


@dataclass(frozen=True)
class AtHome(Prediction):
    """The prediction ``inner`` of a network on the path ``home``, asked about the same item at the same noise level.

    Exact on any path up to rounding: ``x / alpha`` is the same there and here.
    """

    inner: Prediction
    home: Process

    def input(self, process: Process, x: X, t: T) -> X:
        """Return what the network is fed at home."""
        time, own = self._home(process, x, t)
        return self.inner.input(self.home, own, time)

    def x0(self, process: Process, output: X, x: X, t: T) -> X:
        """Return the estimate that the output stands for at home."""
        time, own = self._home(process, x, t)
        return self.inner.x0(self.home, output, own, time)

    def output(self, process: Process, x0: X, x: X, t: T) -> X:
        """Return the output that stands for ``x0`` at home."""
        time, own = self._home(process, x, t)
        return self.inner.output(self.home, x0, own, time)

    def _home(self, process: Process, x: X, t: T) -> tuple[T, X]:
        """Return the home path's time of the same noise level, and x there."""
        time = there(self.home, level(process, t))
        return time, over(self.home.alpha(time) / process.alpha(t), x) * x


@dataclass(frozen=True)
class OnLevels(Schedule):
    """The noise levels of a schedule on the clock of ``home``."""

    home: Process
    schedule: Schedule

    def at(self, place: torch.Tensor) -> torch.Tensor:
        """Return the level of the schedule's time."""
        return level(self.home, self.schedule.at(place)).clamp_max(Levels(self.home).t_max)

    def points(self, count: int) -> torch.Tensor:
        """Return the levels of the schedule's times."""
        return level(self.home, self.schedule.points(count)).clamp_max(Levels(self.home).t_max)


@dataclass(frozen=True)
class OffLevels(Schedule):
    """The times of ``home`` at which a schedule of noise levels stands: the other way round."""

    home: Process
    schedule: Schedule

    def at(self, place: torch.Tensor) -> torch.Tensor:
        """Return the time of the schedule's level."""
        return there(self.home, self.schedule.at(place))

    def points(self, count: int) -> torch.Tensor:
        """Return the times of the schedule's levels."""
        return there(self.home, self.schedule.points(count))


def level(process: Process, t: T) -> T:
    """Return ``sigma / alpha``; infinite where alpha is 0."""
    alpha, sigma = process.scales(t)
    return torch.where(alpha > 1e-12, sigma / alpha.clamp_min(1e-12), math.inf)


def there(home: Process, level: T) -> T:
    """Return the time on a path at which it has a noise level, at most its end."""
    return home.time(-2 * level.log()).clamp_max(home.t_max)
