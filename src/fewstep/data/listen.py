"""Pitch, timbre and loudness of notes, heard exactly: against the grid of pitches, without a network."""

from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fewstep.data.score import KINDS, PITCHES, TIMBRES, Asked, Score
from fewstep.data.synth import RATE, SAMPLES, frequencies, play
from fewstep.spectra import Mel

__all__ = ["MEL", "kind_of_mel", "log_mel", "loudness_of_mel", "loudness_of_sound", "pitch_of_sound", "power"]

MEL = Mel(bands=80, window=1024, hop=256, rate=RATE, low=100.0)
QUIET, LOUD = -80.0, -5.0  # dB of a band: what becomes -1 and what becomes 1
TOLERANCE = 0.35  # semitones around a pitch in which a partial is looked for: detuning is at most 0.1
PARTIALS = 8
AT_ONCE = 32  # waveforms transformed together; more are slower, for they leave the cache


def log_mel(sound: Tensor) -> Tensor:
    """Return the log-mel of waveforms (b, 8192) as (b, 80, 32): power per band in dB, -80 to -5 scaled to -1 to 1."""
    powers = [MEL.gathered(MEL.spectrum(part).square()) for part in torch.split(sound, AT_ONCE)]
    return _unit(10 * torch.cat(powers).clamp_min(10 ** (QUIET / 10)).log10())


def power(mel: Tensor) -> Tensor:
    """Return the power per band behind a log-mel; what is at the lower end counts as nothing."""
    decibels = (mel + 1) / 2 * (LOUD - QUIET) + QUIET
    return torch.where(mel > -1, 10 ** (decibels / 10), 0.0)


def pitch_of_sound(sound: Tensor) -> Tensor:
    """Return the number of the pitch of each waveform, (b,).

    The magnitudes of the partials of every pitch are compared with the recipe of every timbre: a pitch an octave off
    misses half of the partials, or finds only every second one.
    """
    window = torch.hann_window(SAMPLES, dtype=sound.dtype, device=sound.device)
    magnitudes = torch.fft.rfft(sound * window).abs()
    found = torch.stack([_partials(magnitudes, pitch) for pitch in range(len(PITCHES))], 1)
    recipes = torch.tensor(list(TIMBRES.values()), dtype=found.dtype, device=found.device)
    scores = found @ normalize(recipes, dim=1).T
    return scores.amax(2).argmax(1)


def loudness_of_sound(sound: Tensor) -> Tensor:
    """Return ``10 log10`` of the mean square of each waveform, in dB."""
    return 10 * sound.square().mean(1).clamp_min(1e-12).log10()


def kind_of_mel(mel: Tensor) -> Tensor:
    """Return pitch and timbre of each log-mel as the number of its kind, (b,).

    Amplitudes per band over the whole note are compared by their cosine with those of an exact note of each kind.
    """
    return (_profile(mel) @ _templates().to(mel).T).argmax(1)


def loudness_of_mel(mel: Tensor) -> Tensor:
    """Return the loudness of each log-mel in dB, exact but for the edges: bands share all power (Parseval)."""
    return 10 * power(mel).sum((1, 2)).clamp_min(1e-12).log10() + _calibration()


def _unit(decibels: Tensor) -> Tensor:
    return 2 * (decibels - QUIET) / (LOUD - QUIET) - 1


def _partials(magnitudes: Tensor, pitch: int) -> Tensor:
    """Return the largest magnitude around each of the eight partials of a pitch, (b, 8)."""
    hertz = float(frequencies(torch.tensor(pitch)))
    bins = [h * hertz * SAMPLES / RATE for h in range(1, PARTIALS + 1)]
    spread = 2 ** (TOLERANCE / 12)
    ranges = [slice(round(each / spread), round(each * spread) + 1) for each in bins]
    return torch.stack([magnitudes[:, places].amax(1) for places in ranges], 1)


def _profile(mel: Tensor) -> Tensor:
    """Return the amplitude per band over the whole note, (b, bands), of length 1."""
    return normalize(power(mel).sum(2).sqrt(), dim=1)


@cache
def _exact() -> tuple[Tensor, Tensor]:
    """Return the log-mels of one note of each kind without chance, and their loudness."""
    kind, same = torch.arange(KINDS), torch.ones(KINDS)
    asked = Asked(kind // len(TIMBRES), kind % len(TIMBRES), -22 * same, 0.02 * same, 0.3 * same)
    still = torch.zeros(KINDS, PARTIALS)
    sound = play(Score(asked, torch.zeros(KINDS), still, still))
    return log_mel(sound), asked.loudness


def _templates() -> Tensor:
    return _profile(_exact()[0])


def _calibration() -> float:
    mel, loudness = _exact()
    return float((loudness - 10 * power(mel).sum((1, 2)).log10()).mean())
