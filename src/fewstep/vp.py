"""The variance-preserving path of DDPM and Stable Diffusion, along a table of discrete levels."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import cast

import torch
from torch import Tensor

from fewstep.errors import RecipeError, nearest
from fewstep.process import Process
from fewstep.types import T, X

__all__ = ["VP"]


@dataclass(frozen=True)
class VP(Process):
    """``alpha^2 + sigma^2 = 1`` along a table of discrete levels.  Source: DDPM, arXiv 2006.11239, eq. 4.

    ``alphas_cumprod[i]`` stands at clock time ``i + 1``; time 0 is clean data.  Between the entries the angle
    ``arctan(sigma / alpha)`` runs straight, so that a zero terminal signal-to-noise ratio needs no special case.
    With ``unit`` it is that of a pipeline: the clock is divided by the number of levels and ends at 1, as that of
    rectified flow does, and samplers start from unit noise at whichever time, as stock ones do.
    Build it with ``from_betas`` or ``from_diffusers``.  Raises ``RecipeError`` unless the table falls within [0, 1].
    """

    alphas_cumprod: tuple[float, ...] = field(repr=False)
    sigma_data: float = 1.0
    unit: bool = False

    def __post_init__(self) -> None:
        table = self.alphas_cumprod
        falls = all(a > b for a, b in zip((1.0, *table), table, strict=False))
        if not table or not falls or table[-1] < 0:
            raise RecipeError(
                f"VP got a table of {len(table)} entries that does not fall strictly from below 1 to at least 0; "
                "pass the cumulated products of (1 - beta), largest first."
            )

    @classmethod
    def from_betas(cls, betas: Sequence[float], zero_snr: bool = False, sigma_data: float = 1.0) -> "VP":
        """Cumulate ``1 - beta``; ``zero_snr`` stretches sqrt(alphas_cumprod) to end at 0 (arXiv 2305.08891, alg. 1)."""
        root = (1 - torch.as_tensor(betas, dtype=torch.float64)).cumprod(0).sqrt()
        if zero_snr:
            root = (root - root[-1]) * root[0] / (root[0] - root[-1])
        return cls(tuple((root**2).tolist()), sigma_data)

    @classmethod
    def from_diffusers(cls, config: Mapping[str, object], unit: bool = False) -> "VP":
        """Read a diffusers ``scheduler_config.json`` (linear, scaled_linear or squaredcos_cap_v2 betas, or trained)."""
        return replace(cls.from_betas(_betas(config), bool(config.get("rescale_betas_zero_snr", False))), unit=unit)

    @property
    def t_max(self) -> float:
        """The number of levels, or 1."""
        return 1.0 if self.unit else self._levels

    @property
    def _levels(self) -> float:
        return float(len(self.alphas_cumprod))

    @property
    def _per_level(self) -> float:
        """Return what one level is on the clock, inverted: exact where both are whole numbers."""
        return self._levels if self.unit else 1.0

    @cached_property
    def _table(self) -> tuple[Tensor, Tensor]:
        """Return the angle at each level, clean data first, and what it grows by in the cell above."""
        angles = torch.tensor((1.0, *self.alphas_cumprod), dtype=torch.float64).sqrt().acos()
        return angles, angles.diff()

    def _angle(self, t: T) -> tuple[T, T]:
        (table, slopes), place = self._on(t), self._per_level * t
        i = place.long().clamp(0, len(self.alphas_cumprod) - 1)
        slope = slopes[i]
        return torch.addcmul(table[i], slope, place - i), slope

    def _on(self, like: Tensor) -> tuple[Tensor, Tensor]:
        table, slopes = self._table
        return table.to(like.device), slopes.to(like.device)

    def alpha(self, t: T) -> T:
        """Return the cosine of the angle."""
        return self._angle(t)[0].cos()

    def sigma(self, t: T) -> T:
        """Return the sine of the angle."""
        return self._angle(t)[0].sin()

    def scales(self, t: T) -> tuple[T, T]:
        """Return cosine and sine of the angle, which is looked up once."""
        angle = self._angle(t)[0]
        return angle.cos(), angle.sin()

    def rates(self, t: T) -> tuple[T, T]:
        """Return the derivatives within the cell above t."""
        angle, slope = self._angle(t)
        return -angle.sin() * slope * self._per_level, angle.cos() * slope * self._per_level

    def time(self, logsnr: T) -> T:
        """Return the time at which the angle is ``arctan(exp(-logsnr / 2))``."""
        (table, slopes), angle = self._on(logsnr), torch.atan((-logsnr / 2).exp())
        i = (torch.searchsorted(table, angle, right=True) - 1).clamp(0, len(slopes) - 1)
        return (i + (angle - table[i]) / slopes[i]) / self._per_level

    def prior(self, z: X, t: T) -> X:
        """Return ``sigma z``, of a pipeline z itself: with data of deviation 1 that is the deviation at every time."""
        return z if self.unit else super().prior(z, t)

    def entry(self, t: T) -> T:
        """Return the time of the noisiest entry of the table up to t, but for rounding; at least the first one's."""
        return (self._per_level * t + 1e-6).floor().clamp(1, self._levels) / self._per_level

    @property
    def least(self) -> float:
        """The time of the second entry: of the first one, time step 0, ``LCMScheduler`` of diffusers makes nothing."""
        return 2 / self._per_level

    def earlier(self, t: T, eta: float) -> T:
        """Return the time of the entry whose index is ``(1 - eta)`` times that of t, rounded down.

        That of data is the first entry's, beside the data.  Source: ``TCDScheduler`` of diffusers.
        """
        return self.entry((1 - eta) * (t - 1 / self._per_level) + 1 / self._per_level)

    def label(self, t: T) -> T:
        """Return the index in the table, ``t - 1`` in levels; times below the first entry share its label."""
        return (self._per_level * t - 1).clamp_min(0)


def _betas(config: Mapping[str, object]) -> list[float]:
    """Compute the betas that a diffusers scheduler with this config uses."""
    if config.get("trained_betas"):
        return [float(str(beta)) for beta in cast(Sequence[float], config["trained_betas"])]
    start, end = float(str(config.get("beta_start", 1e-4))), float(str(config.get("beta_end", 0.02)))
    count, kind = int(str(config.get("num_train_timesteps", 1000))), str(config.get("beta_schedule", "linear"))
    shapes: dict[str, Callable[[], Tensor]] = {
        "linear": lambda: torch.linspace(start, end, count, dtype=torch.float64),
        "scaled_linear": lambda: torch.linspace(start**0.5, end**0.5, count, dtype=torch.float64) ** 2,
        "squaredcos_cap_v2": lambda: _cosine_betas(count),
    }
    if kind not in shapes:
        raise RecipeError(f"beta_schedule is {kind!r}; {nearest(kind, shapes)} Or give 'trained_betas'.")
    return [float(beta) for beta in shapes[kind]()]


def _cosine_betas(count: int) -> Tensor:
    """Improved DDPM, arXiv 2102.09672, eq. 17, capped at 0.999."""
    place = torch.arange(count + 1, dtype=torch.float64) / count
    alpha_bar = ((place + 0.008) / 1.008 * math.pi / 2).cos() ** 2
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp_max(0.999)
