"""From spectra back to sound: what is between the bands, and the phases, are found by iteration."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from fewstep.spectra import Mel

__all__ = ["griffin_lim", "spread"]

ROUNDS, MOMENTUM = 60, 0.99  # the paper's best momentum; ours: after 60 rounds nothing more is heard
SPREADS = 300  # multiplicative updates; after 40 one note in 25 is a semitone off, after 300 one in 150


def spread(power: Tensor, mel: Mel) -> Tensor:
    """Return a power spectrum (b, f, m), nowhere negative, whose bands have about the ``power`` (b, k, m).

    ``P <- P * F' M / F' F P``: non-negative least squares.  Source: Lee and Seung, NIPS 2000, theorem 1.
    """
    filters = mel.filters().to(power)
    wanted = filters.T @ power
    found = wanted.clone()
    for _ in range(SPREADS):
        found = found * wanted / (filters.T @ (filters @ found)).clamp_min(1e-20)
    return found


def griffin_lim(magnitude: Tensor, mel: Mel, seed: int = 0) -> Tensor:
    """Return waveforms (b, m hop) with about that magnitude (b, f, m), from random phases of a fixed seed.

    Alternates between spectra that belong to a waveform and spectra of the wanted magnitude, with momentum.
    Source: Perraudin, Balazs and Soendergaard, A fast Griffin-Lim algorithm, WASPAA 2013, algorithm 2.
    *Limits* half a hop at each end is silence, since no two windows meet there.
    """
    half, frames = mel.hop // 2, magnitude.shape[2]
    window = torch.hann_window(mel.window, dtype=magnitude.dtype, device=magnitude.device)
    scaled, length = 2 * window / window.sum(), (frames - 1) * mel.hop
    draw = torch.Generator().manual_seed(seed)
    turns = 2 * torch.pi * torch.rand(magnitude.shape, generator=draw).to(magnitude)
    estimate, before = torch.polar(magnitude, turns), torch.zeros_like(magnitude, dtype=turns.to(torch.cfloat).dtype)
    for _ in range(ROUNDS):
        sound = torch.istft(estimate, mel.window, mel.hop, window=scaled, length=length)
        now = torch.stft(
            sound, mel.window, mel.hop, window=scaled, pad_mode="constant", return_complex=True
        )  # centred windows: frame i of ``Mel`` starts half a hop later
        faster = now + MOMENTUM * (now - before)
        estimate, before = torch.polar(magnitude, faster.angle()), now
    return pad(torch.istft(estimate, mel.window, mel.hop, window=scaled, length=length), (half, half))
