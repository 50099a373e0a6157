"""In which space the two sides of a cost are compared, once both stand at time s."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from fewstep.process import over
from fewstep.tapped import tapped
from fewstep.turn import Noised, Turn
from fewstep.types import T, X

__all__ = ["AtData", "Estimate", "Features", "Here", "Space"]


class Space(ABC):
    """A map from states at time s to what is compared."""

    @abstractmethod
    def __call__(self, turn: Turn, x: X, s: T, noised: Noised | None = None) -> X:
        """Return what stands for ``x``; ``noised`` is the state at t > s from which the cost began, if there is one."""

    def networks(self) -> tuple[str, ...]:
        """Return the names of the networks that are asked for."""
        return ()


@dataclass(frozen=True)
class Here(Space):
    """The states themselves."""

    def __call__(self, turn: Turn, x: X, s: T, noised: Noised | None = None) -> X:
        """Return x."""
        return x


@dataclass(frozen=True)
class AtData(Space):
    """Carry both sides on to time 0 with an average of the learner, whose weights take no part.

    Source: CTM, arXiv 2310.02279, eq. 9 (the outer jump with the EMA).
    """

    average: str

    def __call__(self, turn: Turn, x: X, s: T, noised: Noised | None = None) -> X:
        """Return the data that x leads to."""
        return turn.flow_map(f"{turn.me}.{self.average}")(x, s, torch.zeros_like(s), turn.c)


@dataclass(frozen=True)
class Estimate(Space):
    """The estimate of the data with which one DDIM step from (x_t, t) lands on x at s: the inverse of the step.

    Source: multistep consistency models, arXiv 2403.06807, eq. 8 ("invDDIM"); progressive distillation, eq. 44.
    """

    def __call__(self, turn: Turn, x: X, s: T, noised: Noised | None = None) -> X:
        """Return ``(x - k x_t) / (alpha_s - k alpha_t)`` with ``k = sigma_s / sigma_t``."""
        if noised is None:
            return x
        process, t = turn.process, noised.t
        keep = process.sigma(s) / process.sigma(t)
        return (x - over(keep, x) * noised.x) / over(process.alpha(s) - process.alpha(t) * keep, x)


@dataclass(frozen=True)
class Features(Space):
    """What a frozen network's submodules ``taps`` say of x at time s, channels normalised to length 1, end to end.

    A perceptual distance without a download when the network is the teacher.  Source: SoundCTM, arXiv 2405.18503,
    section 3.1.  *Ours*: 1e-6 in the length, so that silent features count 0.
    """

    network: str = "teacher"
    taps: tuple[str, ...] = ("middle",)

    def networks(self) -> tuple[str, ...]:
        """Return the network that is tapped."""
        return (self.network,)

    def __call__(self, turn: Turn, x: X, s: T, noised: Noised | None = None) -> X:
        """Return the features of each item as one vector; they carry the graph of x."""
        found = tapped(turn.plain(self.network), self.taps, x, s, turn.c)
        unit = [f / (f.square().sum(1, keepdim=True) + 1e-6).sqrt() / f[0, 0].numel() ** 0.5 for f in found]
        return torch.cat([part.flatten(1) for part in unit], 1)
