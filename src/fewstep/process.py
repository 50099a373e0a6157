"""Gaussian paths ``x_t = alpha(t) x0 + sigma(t) z`` from data (t = 0) to noise (t = t_max), each on its own clock.

Everything else follows from ``alpha`` and ``sigma``: adding noise, reading off the noise, the velocity of the
probability-flow ODE, the DDIM step between any two times, and the way back from a signal-to-noise ratio to a time.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from fewstep.errors import RecipeError
from fewstep.types import T, X

__all__ = ["EDM", "Linear", "NoiseLevel", "Process", "TrigFlow", "over"]


def over(t: T, x: X) -> Tensor:
    """Give ``t`` (b,) the precision and the trailing axes of ``x`` (b, ...), so that the two multiply."""
    return t.to(x.dtype).reshape(-1, *(1 for _ in x.shape[1:]))


class Process(ABC):
    """A Gaussian path on a clock ``t`` in [0, ``t_max``]; ``t = 0`` is data, where ``alpha = 1`` and ``sigma = 0``."""

    sigma_data: float
    """Standard deviation of the data; EDM preconditioning, its weights and TrigFlow are stated in this unit."""

    @property
    @abstractmethod
    def t_max(self) -> float:
        """The end of the clock, where a sampler starts."""

    @abstractmethod
    def alpha(self, t: T) -> T:
        """Return the share of the data."""

    @abstractmethod
    def sigma(self, t: T) -> T:
        """Return the standard deviation of the noise."""

    @abstractmethod
    def rates(self, t: T) -> tuple[T, T]:
        """Return ``d alpha/dt`` and ``d sigma/dt``."""

    @abstractmethod
    def time(self, logsnr: T) -> T:
        """Return the time whose ``log(alpha^2 / sigma^2)`` is ``logsnr``; ``inf`` is time 0."""

    @abstractmethod
    def label(self, t: T) -> T:
        """Return the number that networks on this path are given as their time."""

    def scales(self, t: T) -> tuple[T, T]:
        """Return ``alpha`` and ``sigma``, which a path may find with one look at its clock."""
        return self.alpha(t), self.sigma(t)

    def logsnr(self, t: T) -> T:
        """Return ``log(alpha^2 / sigma^2)``: ``inf`` for data, falling with t."""
        alpha, sigma = self.scales(t)
        return 2 * (alpha.log() - sigma.log())

    def variance(self, t: T) -> T:
        """Return ``alpha^2 sigma_data^2 + sigma^2``, the variance of x."""
        alpha, sigma = self.scales(t)
        return (alpha * self.sigma_data) ** 2 + sigma**2

    def noise(self, x0: X, z: X, t: T) -> X:
        """Return ``alpha x0 + sigma z``."""
        alpha, sigma = self.scales(t)
        return over(alpha, x0) * x0 + over(sigma, x0) * z

    def prior(self, z: X, t: T) -> X:
        """Return what a sampler starts from at t, with unit noise z: ``sigma z``."""
        return over(self.sigma(t), z) * z

    def entry(self, t: T) -> T:
        """Return the noisiest time up to t that stock samplers can name: t itself, up to the end of the clock."""
        return t.clamp_max(self.t_max)

    @property
    def least(self) -> float:
        """The least time at which every stock sampler of the path can ask: any above 0, unless times have a table."""
        return 0.0

    def earlier(self, t: T, eta: float) -> T:
        """Return the time ``(1 - eta) t``, as stock samplers of the path name it."""
        return (1 - eta) * t

    def eps(self, x: X, x0: X, t: T) -> X:
        """Return the noise in ``x`` when ``x0`` is its data: ``(x - alpha x0) / sigma``; needs t > 0."""
        alpha, sigma = self.scales(t)
        return (x - over(alpha, x) * x0) / over(sigma, x)

    def velocity(self, x: X, x0: X, t: T) -> X:
        """Return ``dx/dt = alpha' x0 + sigma' eps`` of the probability-flow ODE on this clock; needs t > 0."""
        dalpha, dsigma = self.rates(t)
        return over(dalpha, x) * x0 + over(dsigma, x) * self.eps(x, x0, t)

    def step(self, x: X, x0: X, t: T, s: T) -> X:
        """Go from t to s with the noise in ``x`` kept: ``alpha_s x0 + sigma_s eps``.

        Exact when ``s = t`` (the result is ``x`` to the last bit) and when ``s = 0`` (it is ``x0``).
        Source: DDIM, arXiv 2010.02502, eq. 12 with eta = 0.
        """
        (alpha_t, sigma_t), (alpha_s, sigma_s) = self.scales(t), self.scales(s)
        keep = torch.where(sigma_t > 0, sigma_s / sigma_t, 1.0)
        return over(keep, x) * x + over(alpha_s - alpha_t * keep, x) * x0

    def renoise(self, x: X, z: X, s: T, t: T) -> X:
        """Diffuse ``x`` from the cleaner time s up to t with fresh noise ``z``; keeps the marginals exact."""
        keep, fresh = self._diffused(s, t)
        return over(keep, x) * x + over(fresh, x) * z

    def fresh(self, s: T, t: T) -> T:
        """Return the deviation of the noise that is added on the way from the cleaner time s up to t."""
        return self._diffused(s, t)[1]

    def _diffused(self, s: T, t: T) -> tuple[T, T]:
        """Return what x at s is multiplied by on the way up to t, and the deviation of the noise that is added."""
        (alpha_s, sigma_s), (alpha_t, sigma_t) = self.scales(s), self.scales(t)
        keep = alpha_t / alpha_s
        return keep, (sigma_t**2 - (keep * sigma_s) ** 2).clamp_min(0).sqrt()


class NoiseLevel(Process):
    """``x_t = x0 + t z``: the clock is the noise level."""

    def alpha(self, t: T) -> T:
        """Return 1."""
        return torch.ones_like(t)

    def sigma(self, t: T) -> T:
        """Return t."""
        return t

    def rates(self, t: T) -> tuple[T, T]:
        """Return 0 and 1."""
        return torch.zeros_like(t), torch.ones_like(t)

    def time(self, logsnr: T) -> T:
        """Return ``exp(-logsnr / 2)``."""
        return (-logsnr / 2).exp()


@dataclass(frozen=True)
class EDM(NoiseLevel):
    """``x_t = x0 + t z`` up to ``sigma_max``.  Source: Karras et al. 2022, arXiv 2206.00364, table 1."""

    sigma_data: float = 0.5
    sigma_max: float = 80.0

    @property
    def t_max(self) -> float:
        """The largest noise level."""
        return self.sigma_max

    def label(self, t: T) -> T:
        """Return ``c_noise = ln(t) / 4`` (table 1), held finite at t = 0."""
        return t.clamp_min(1e-5).log() / 4


@dataclass(frozen=True)
class Linear(Process):
    """``x = (1 - u) x0 + u z`` with ``u = shift t / (1 + (shift - 1) t)``: rectified flow, t in [0, 1].

    The shift lives in the clock, so one object shifts the times of training, sampling and export alike.
    Source: Liu et al. 2022, arXiv 2209.03003, eq. 1; shift: Esser et al. 2024, arXiv 2403.03206, eq. 23.
    Raises ``RecipeError`` unless ``shift > 0``.
    """

    shift: float = 1.0
    sigma_data: float = 1.0
    label_scale: float = 1.0
    """What u is multiplied by before a network sees it: 1000 for diffusers' flow models."""
    noise_label: bool = False
    """Whether networks are given ``ln(sigma / alpha) / 4`` instead, as those that learned on EDM's path expect."""

    def __post_init__(self) -> None:
        if not self.shift > 0:
            raise RecipeError(f"shift is {self.shift}; accepted are positive numbers, 1 for none (SD3 uses 3).")

    @property
    def t_max(self) -> float:
        """Pure noise stands at 1."""
        return 1.0

    def alpha(self, t: T) -> T:
        """Return ``1 - u``."""
        return (1 - t) / (1 + (self.shift - 1) * t)

    def sigma(self, t: T) -> T:
        """Return ``u``."""
        return self.shift * t / (1 + (self.shift - 1) * t)

    def rates(self, t: T) -> tuple[T, T]:
        """Return ``-du/dt`` and ``du/dt``."""
        du = self.shift / (1 + (self.shift - 1) * t) ** 2
        return -du, du

    def time(self, logsnr: T) -> T:
        """Return t from ``u = sigmoid(-logsnr / 2)``."""
        u = torch.sigmoid(-logsnr / 2)
        return u / (self.shift - (self.shift - 1) * u)

    def label(self, t: T) -> T:
        """Return ``u * label_scale``, or the label of EDM."""
        return noise_label(self, t) if self.noise_label else self.sigma(t) * self.label_scale


@dataclass(frozen=True)
class TrigFlow(Process):
    """``x_t = cos(t) x0 + sin(t) sigma_data z``, t in [0, pi/2].  Source: sCM, arXiv 2410.11081, section 3."""

    sigma_data: float = 0.5
    noise_label: bool = False
    """Whether networks are given ``ln(sigma / alpha) / 4`` instead of t, as those that learned on EDM's path expect."""

    @property
    def t_max(self) -> float:
        """Pure noise stands at pi/2."""
        return math.pi / 2

    def alpha(self, t: T) -> T:
        """Return ``cos t``."""
        return t.cos()

    def sigma(self, t: T) -> T:
        """Return ``sigma_data sin t``."""
        return self.sigma_data * t.sin()

    def rates(self, t: T) -> tuple[T, T]:
        """Return ``-sin t`` and ``sigma_data cos t``."""
        return -t.sin(), self.sigma_data * t.cos()

    def time(self, logsnr: T) -> T:
        """Return ``arctan(exp(-logsnr / 2) / sigma_data)``."""
        return torch.atan((-logsnr / 2).exp() / self.sigma_data)

    def label(self, t: T) -> T:
        """Return t itself, or the label of EDM."""
        return noise_label(self, t) if self.noise_label else t


def noise_label(process: Process, t: T) -> T:
    """Return ``ln(sigma / alpha) / 4`` held finite at both ends: EDM's label on any clock."""
    return (-process.logsnr(t) / 8).clamp(math.log(1e-5) / 4, math.log(1e5) / 4)
