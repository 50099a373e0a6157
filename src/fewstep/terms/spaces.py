"""In which space the two sides of a cost are compared, once both stand at time s."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d

from fewstep.errors import RecipeError
from fewstep.process import over
from fewstep.spectra import FLOOR, multi_scale_log_mel
from fewstep.tapped import tapped
from fewstep.turn import Noised, Turn
from fewstep.types import T, X

__all__ = ["AtData", "Edges", "Estimate", "Features", "Here", "HighPass", "LogMels", "Space"]

SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))

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


@dataclass(frozen=True)
class HighPass(Space):
    """Images x (b, channels, h, w) without their mean and all frequencies of up to ``radius`` cycles per pixel.

    What stays and what goes add up to x, and so do their energies: a squared distance here is that of the coefficients
    of an orthonormal Fourier transform.  The border of an image counts, since the transform sees it tiled.
    Source: HiPA, arXiv 2311.18158.  *Ours*: 1/6, a third of the highest frequency; the paper's number is not known.
    Raises ``RecipeError`` for a radius outside 0 to 1/2, and for items that are no images.
    """

    radius: float = 1 / 6

    def __post_init__(self) -> None:
        if not 0 <= self.radius < 0.5:
            raise RecipeError(
                f"a high pass of radius {self.radius} cycles per pixel; accepted is 0 or more and below 0.5, where "
                "nothing along the axes would stay."
            )

    def __call__(self, turn: Turn, x: X, s: T, noised: Noised | None = None) -> Compared:
        """Return the high-passed images, the shape of x."""
        _refuse_no_image(x, self)
        height, width = x.shape[-2:]
        down = torch.fft.fftfreq(height, device=x.device)[:, None]
        along = torch.fft.rfftfreq(width, device=x.device)
        stays = down.square() + along.square() > self.radius**2
        spectrum = torch.fft.rfft2(x, norm="ortho") * stays
        high: Tensor = torch.fft.irfft2(spectrum, (height, width), norm="ortho")
        return high


@dataclass(frozen=True)
class Edges(Space):
    """The slopes of images x (b, channels, h, w) along both axes by Sobel's filter, in values per pixel, borders left
    out: (b, 2 channels, h - 2, w - 2).

    A constant has none; a ramp has its own slope everywhere.
    Source: HiPA, arXiv 2311.18158.  *Ours*: divided by 8, the sum of the filter's weights.
    Raises ``RecipeError`` for items that are no images.
    """

    def __call__(self, turn: Turn, x: X, s: T, noised: Noised | None = None) -> Compared:
        """Return the slopes along the width, then along the height."""
        _refuse_no_image(x, self)
        sobel = torch.tensor(SOBEL, dtype=x.dtype, device=x.device) / 8
        filters = torch.stack([sobel, sobel.T])[:, None].repeat(x.shape[1], 1, 1, 1)
        return conv2d(x, filters, groups=x.shape[1])


def _refuse_no_image(x: X, space: Space) -> None:
    if x.ndim != 4:
        raise RecipeError(
            f"the space {type(space).__name__} is for images (channels, height, width), and these items are of "
            f"{list(x.shape[1:])}. Leave 'space' out, or give another one."
        )
