"""Playing notes: eight partials under one envelope."""

import torch
from torch import Tensor

from fewstep.data.score import TIMBRES, Score

__all__ = ["LOWEST", "RATE", "SAMPLES", "frequencies", "play"]

RATE, SAMPLES = 16_000, 8_192  # Hz; 0.512 s
LOWEST = 220.0  # Hz, the pitch A3
FADE = 160  # samples at the end, so that a note does not end in a click
AT_ONCE = 32  # notes; more are slower, for they leave the cache


def play(score: Score) -> Tensor:
    """Return waveforms (n, 8192): ``sum_h a_h sin(2 pi h f t + phase_h)`` under the envelope, at the loudness asked.

    The envelope is ``(1 - exp(-t / attack)) exp(-t / decay)``; loudness is ``10 log10`` of the mean square.
    """
    count = len(score.detune)
    parts = [_played(score.cut(start, start + AT_ONCE)) for start in range(0, count, AT_ONCE)]
    return torch.cat(parts) if parts else torch.empty(0, SAMPLES)


def frequencies(pitch: Tensor) -> Tensor:
    """Return the fundamental of each pitch in Hz: semitones above A3."""
    return LOWEST * 2 ** (pitch.double() / 12)


def _played(score: Score) -> Tensor:
    asked, time = score.asked, torch.arange(SAMPLES, dtype=torch.float64) / RATE
    cycles = (frequencies(asked.pitch) * 2 ** (score.detune / 1200))[:, None] * time
    turn = torch.polar(torch.ones(()), (2 * torch.pi * cycles.frac()).float())  # whole turns taken out in float64
    amplitudes = torch.tensor(list(TIMBRES.values()))[asked.timbre] * 10 ** (score.jitter / 20)
    partials = torch.polar(amplitudes, score.phase)
    wave = torch.zeros_like(turn)
    for h in reversed(range(partials.shape[1])):  # Horner: sum_h p_h turn^h
        wave = (wave + partials[:, h, None]) * turn
    t = time.float()
    tone = wave.imag * -torch.expm1(-t / asked.attack[:, None]) * torch.exp(-t / asked.decay[:, None])
    tone[:, -FADE:] *= torch.linspace(1, 0, FADE)
    return tone * 10 ** (asked.loudness[:, None] / 20) / tone.square().mean(1, keepdim=True).sqrt()
