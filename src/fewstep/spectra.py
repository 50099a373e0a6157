"""Spectra of sound in mel bands, differentiable: what data are made of and what costs compare."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["FLOOR", "Mel", "multi_scale_log_mel"]

SCALES = ((32, 5), (64, 10), (128, 20), (256, 40), (512, 80), (1024, 160), (2048, 320))
"""Window and bands of each scale.  Source: PeriodWave-Turbo, arXiv 2408.08019, the reconstruction loss of its code."""
FLOOR = 1e-5  # the same: magnitudes are clamped here before the logarithm


@dataclass(frozen=True)
class Mel:
    """Sound cut into Hann windows, and the spectrum of each one gathered into bands of equal width in mel.

    ``window`` and ``hop`` are in samples, ``rate`` in samples per second, ``low`` and ``high`` in Hz; their difference
    ``window - hop`` must be even.  A sine of amplitude 1 has magnitude 1 at its frequency.
    Source of the scale: O'Shaughnessy, Speech Communication (1987): ``mel = 1127 ln(1 + Hz / 700)``.
    """

    bands: int
    window: int = 1024
    hop: int = 256
    rate: int = 16_000
    low: float = 0.0
    high: float = 8_000.0

    def spectrum(self, x: Float[Tensor, "b n"]) -> Float[Tensor, "b f m"]:
        """Return magnitudes (b, window / 2 + 1, n / hop); frame i is centred on the samples i hop to (i + 1) hop."""
        window = torch.hann_window(self.window, dtype=x.dtype, device=x.device)
        edge = (self.window - self.hop) // 2
        padded, scaled = pad(x, (edge, edge)), 2 * window / window.sum()
        spectrum = torch.stft(padded, self.window, self.hop, window=scaled, center=False, return_complex=True)
        return spectrum.abs()

    def filters(self) -> Float[Tensor, "k f"]:
        """Return triangles (bands, window / 2 + 1) of height 1 that sum to 1 between the first and the last peak."""
        edges = torch.linspace(_mel(self.low), _mel(self.high), self.bands + 2, dtype=torch.float64)
        hertz = 700 * torch.expm1(edges / 1127)
        bins = torch.linspace(0, self.rate / 2, self.window // 2 + 1, dtype=torch.float64)
        left, peak, right = hertz[:-2, None], hertz[1:-1, None], hertz[2:, None]
        return torch.minimum((bins - left) / (peak - left), (right - bins) / (right - peak)).clamp_min(0).float()

    def gathered(self, spectrum: Float[Tensor, "b f m"]) -> Float[Tensor, "b k m"]:
        """Return what of a spectrum, magnitudes or powers, lies in each band."""
        return self.filters().to(spectrum) @ spectrum

    def log(self, x: Float[Tensor, "b n"], floor: float = FLOOR) -> Float[Tensor, "b k m"]:
        """Return ``log10`` of the magnitude in each band, at least that of ``floor``."""
        return self.gathered(self.spectrum(x)).clamp_min(floor).log10()


def multi_scale_log_mel(
    x: Float[Tensor, "b n"], rate: int = 16_000, floor: float = FLOOR
) -> list[Float[Tensor, "b _k _m"]]:
    """Return the log-mels of sound at seven scales: windows of 32 to 2048, hop a quarter, 5 to 320 bands.

    Magnitudes are clamped at ``floor``, below which nothing counts.

    Source: PeriodWave-Turbo, arXiv 2408.08019.  *Ours*: triangles of height 1 on the HTK scale, where librosa's have
    area 1 on Slaney's; a factor per band, which the difference of two logarithms does not see.
    """
    mel = Mel(1, rate=rate, high=rate / 2)
    return [replace(mel, bands=bands, window=window, hop=window // 4).log(x, floor) for window, bands in SCALES]


def _mel(hertz: float) -> float:
    return float(1127 * torch.log1p(torch.tensor(hertz / 700, dtype=torch.float64)))
