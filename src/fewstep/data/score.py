"""What is to be played: the parameters of notes, drawn from a seed, and the conditions that they amount to."""

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor
from torch.nn.functional import one_hot

__all__ = ["FEATURES", "KINDS", "PITCHES", "TIMBRES", "Asked", "Score", "condition", "read_condition", "words"]

NAMES = ("A", "A#", "B", "C", "C#", "D", "D#", "E", "F", "F#", "G", "G#")
PITCHES = tuple(f"{name}{3 + octave + (i > 2)}" for octave in range(2) for i, name in enumerate(NAMES))  # A3 to G#5
TIMBRES = {
    "soft": (1.0, 0.3, 0.1, 0.04, 0.02, 0.01, 0.005, 0.002),
    "hollow": (1.0, 0.04, 0.6, 0.03, 0.4, 0.02, 0.25, 0.02),
    "bright": (1.0, 0.8, 0.65, 0.5, 0.4, 0.3, 0.25, 0.2),
}
"""Amplitudes of the first eight partials: nearly a sine, the odd ones, all of them."""
KINDS = len(PITCHES) * len(TIMBRES)
FEATURES = len(PITCHES) + len(TIMBRES) + 3

LOUDNESS = (-36.0, -18.0)  # dB, the level of the whole note against a square wave of amplitude 1
ATTACK, DECAY = (0.005, 0.08), (0.12, 0.6)  # seconds, the time constants of rise and fall
DETUNE, JITTER = 10.0, 2.0  # what no condition says: at most so many cents, and a deviation of dB per partial


@dataclass(frozen=True)
class Asked:
    """What the condition of each note says: numbers of pitch and timbre, dB, and seconds, (n,) each."""

    pitch: Tensor
    timbre: Tensor
    loudness: Tensor
    attack: Tensor
    decay: Tensor

    @property
    def kind(self) -> Tensor:
        """Pitch and timbre in one number, 0 to ``KINDS`` - 1."""
        return self.pitch * len(TIMBRES) + self.timbre


@dataclass(frozen=True)
class Score:
    """Notes to play: what is asked, and what is left to chance: cents (n,), dB and phase of each partial (n, 8)."""

    asked: Asked
    detune: Tensor
    jitter: Tensor
    phase: Tensor

    @classmethod
    def drawn(cls, count: int, seed: int) -> "Score":
        """Draw notes: every kind equally often, the rest uniform (seconds in their logarithm)."""
        draw = torch.Generator().manual_seed(seed)
        kind = torch.randperm(count, generator=draw) % KINDS
        pitch, timbre = kind // len(TIMBRES), kind % len(TIMBRES)
        loudness, attack, decay, detune = torch.rand(4, count, generator=draw) * 2 - 1
        asked = Asked(pitch, timbre, *_from_features(loudness, attack, decay))
        jitter = JITTER * torch.randn(count, 8, generator=draw)
        return cls(asked, DETUNE * detune, jitter, 2 * torch.pi * torch.rand(count, 8, generator=draw))

    def cut(self, start: int, stop: int) -> "Score":
        """Return the notes from ``start`` to ``stop``."""
        asked = Asked(*(each[start:stop] for each in vars(self.asked).values()))
        return Score(asked, self.detune[start:stop], self.jitter[start:stop], self.phase[start:stop])


def condition(asked: Asked) -> Tensor:
    """Return vectors (n, FEATURES): pitch and timbre one-hot, then loudness, attack and decay in -1 to 1.

    No note has the vector 0, so that it can stand for "no condition".
    """
    loudness = _to_unit(asked.loudness, LOUDNESS)
    features = [loudness, _log_to_unit(asked.attack, ATTACK), _log_to_unit(asked.decay, DECAY)]
    pitch, timbre = one_hot(asked.pitch, len(PITCHES)), one_hot(asked.timbre, len(TIMBRES))
    return torch.cat([pitch.float(), timbre.float(), torch.stack(features, 1).float()], 1)


def read_condition(c: Tensor) -> Asked:
    """Return what ``condition`` was given."""
    pitch, timbre, rest = torch.split(c, [len(PITCHES), len(TIMBRES), 3], 1)
    return Asked(pitch.argmax(1), timbre.argmax(1), *_from_features(*rest.unbind(1)))


def words(asked: Asked) -> list[str]:
    """Say each condition: ``C#4 bright, -25 dB, attack 12 ms, decay 300 ms``."""
    names = list(TIMBRES)
    rows = zip(*(each.tolist() for each in vars(asked).values()), strict=True)
    return [
        f"{PITCHES[pitch]} {names[timbre]}, {loudness:.0f} dB, "
        f"attack {1000 * attack:.0f} ms, decay {1000 * decay:.0f} ms"
        for pitch, timbre, loudness, attack, decay in rows
    ]


def _from_features(loudness: Tensor, attack: Tensor, decay: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _from_unit(loudness, LOUDNESS), _log_from_unit(attack, ATTACK), _log_from_unit(decay, DECAY)


def _to_unit(value: Tensor, ends: tuple[float, float]) -> Tensor:
    return (2 * value - ends[0] - ends[1]) / (ends[1] - ends[0])


def _from_unit(unit: Tensor, ends: tuple[float, float]) -> Tensor:
    return (unit * (ends[1] - ends[0]) + ends[0] + ends[1]) / 2


def _log_to_unit(value: Tensor, ends: tuple[float, float]) -> Tensor:
    return _to_unit(value.log(), (log(ends[0]), log(ends[1])))


def _log_from_unit(unit: Tensor, ends: tuple[float, float]) -> Tensor:
    return _from_unit(unit, (log(ends[0]), log(ends[1]))).exp()
