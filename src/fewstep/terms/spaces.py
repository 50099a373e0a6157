"""In which space the two sides of a cost are compared, once both stand at time s."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from fewstep.process import over
from fewstep.spectra import FLOOR, multi_scale_log_mel
from fewstep.tapped import tapped
from fewstep.turn import Noised, Turn
from fewstep.types import T, X

__all__ = ["AtData", "Estimate", "Features", "Here", "LogMels", "Space"]

Compared: TypeAlias = Float[Tensor, "batch *_values"]
"""What is compared: a state, or a vector per item."""


class Space(ABC):
    """A map from states at time s to what is compared."""

    @abstractmethod
    def __call__(self, turn: Turn, x: X, s: T, noised: Noised | None = None) -> Compared:
        """Return what stands for ``x``; ``noised`` is the state at t > s from which the cost began, if there is one."""

    def networks(self) -> tuple[str, ...]:
        """Return the names of the networks that are asked for."""
        return ()


@dataclass(frozen=True)
class Here(Space):
    """The states themselves."""

    def __call__(self, turn: Turn, x: X, s: T, noised: Noised | None = None) -> Compared:
        """Return x."""
        return x


@dataclass(frozen=True)
class AtData(Space):
    """Carry both sides on to time 0 with an average of the learner, whose weights take no part.

    Source: CTM, arXiv 2310.02279, eq. 9 (the outer jump with the EMA).
    """

    average: str

    def __call__(self, turn: Turn, x: X, s: T, noised: Noised | None = None) -> Compared:
        """Return the data that x leads to."""
        return turn.flow_map(f"{turn.me}.{self.average}")(x, s, torch.zeros_like(s), turn.c)


@dataclass(frozen=True)
class Estimate(Space):
    """The estimate of the data with which one DDIM step from (x_t, t) lands on x at s: the inverse of the step.

    Source: multistep consistency models, arXiv 2403.06807, eq. 8 ("invDDIM"); progressive distillation, eq. 44.
    """

    def __call__(self, turn: Turn, x: X, s: T, noised: Noised | None = None) -> Compared:
        """Return ``(x - k x_t) / (alpha_s - k alpha_t)`` with ``k = sigma_s / sigma_t``."""
        if noised is None:
            return x
        process, t = turn.process, noised.t
        keep = process.sigma(s) / process.sigma(t)
        return (x - over(keep, x) * noised.x) / over(process.alpha(s) - process.alpha(t) * keep, x)


@dataclass(frozen=True)
class Features(Space):
    """What a frozen network's submodules ``taps`` say of x at time s, channels normalised to length 1, end to end.

    A perceptual distance without a download when the network is the teacher; the feature matching of a critic with
    ``judge``, that is when it is asked for a judgement, and ``unit`` false: then features are not normalised, but
    scaled so that the mean of a metric (L1) over all is the sum of its means over the taps.
    Source: SoundCTM, arXiv 2405.18503, section 3.1; PeriodWave-Turbo, arXiv 2408.08019.  *Ours*: 1e-6 in the
    length, so that silent features count 0.
    """

    network: str = "teacher"
    taps: tuple[str, ...] = ("middle",)
    judge: bool = False
    unit: bool = True

    def networks(self) -> tuple[str, ...]:
        """Return the network that is tapped."""
        return (self.network,)

    def __call__(self, turn: Turn, x: X, s: T, noised: Noised | None = None) -> Compared:
        """Return the features of each item as one vector; they carry the graph of x."""
        view = turn.critic(self.network) if self.judge else turn.plain(self.network)
        found = tapped(view, self.taps, x, s, turn.c)
        if self.unit:
            unit = [f / (f.square().sum(1, keepdim=True) + 1e-6).sqrt() / f[0, 0].numel() ** 0.5 for f in found]
            return torch.cat([part.flatten(1) for part in unit], 1)
        values = sum(f[0].numel() for f in found)
        return torch.cat([f.flatten(1) * (values / f[0].numel()) for f in found], 1)


@dataclass(frozen=True)
class LogMels(Space):
    """Log-mels of waveforms x (b, 1, samples) at seven scales, end to end: how they sound, whatever their phases.

    ``rate`` is in Hz; magnitudes are clamped at ``floor``, so that nothing quieter counts.  Scaled so that the mean of
    a metric (L1) over all is the sum of its means over the scales.
    Source: PeriodWave-Turbo, arXiv 2408.08019, and its code.
    """

    rate: int = 16_000
    floor: float = FLOOR

    def __call__(self, turn: Turn, x: X, s: T, noised: Noised | None = None) -> Compared:
        """Return the log-mels of each item as one vector."""
        found = [mel.flatten(1) for mel in multi_scale_log_mel(x[:, 0], self.rate, self.floor)]
        values = sum(mel.shape[1] for mel in found)
        return torch.cat([mel * (values / mel.shape[1]) for mel in found], 1)
