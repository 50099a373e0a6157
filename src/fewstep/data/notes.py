"""Short notes at 16 kHz, played from a seed: a second modality that needs no download."""

from collections.abc import Sequence
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from fewstep.batch import Batch
from fewstep.data import listen, score
from fewstep.data.base import Data, digest
from fewstep.data.ear import Ear
from fewstep.data.phases import griffin_lim, spread
from fewstep.data.score import Score
from fewstep.data.synth import RATE, SAMPLES, play
from fewstep.types import X

__all__ = ["Notes", "NotesWave"]

COUNT = 40 * score.KINDS  # 2,880: as many as there are digits, and half as many again
VERSION = 1  # part of every fingerprint: raise it whenever the same seed makes other notes


@final
class Notes(Data):
    """Log-mels (80 bands, 32 frames) of 2,880 notes, each with a vector that says what is played.

    24 pitches (A3 to G#5) and 3 timbres, every pair equally often; loudness, attack and decay are continuous.  Phases,
    some cents of detuning and the strengths of the partials are left to chance.  Power per band in dB, -80 to -5
    scaled to -1 to 1.  ``seed`` makes another corpus of the same law.
    """

    name = "notes"
    shape = (listen.MEL.bands, SAMPLES // listen.MEL.hop)
    classes = ()

    def __init__(self, seed: int = 0, count: int = COUNT) -> None:
        self._score = Score.drawn(count, seed)
        self._c = score.condition(self._score.asked)

    def __len__(self) -> int:
        return len(self._c)

    @cached_property
    def _x0(self) -> Tensor:
        return listen.log_mel(play(self._score))

    @property
    def condition(self) -> tuple[int, ...]:
        return (score.FEATURES,)

    @property
    def ear(self) -> Ear:
        return MelEar()

    def batch(self, indices: Sequence[int]) -> Batch:
        return Batch(self._x0[torch.as_tensor(indices, dtype=torch.long)], self.conditions(indices))

    def conditions(self, indices: Sequence[int]) -> Tensor:
        return self._c[torch.as_tensor(indices, dtype=torch.long)]

    def describe(self) -> dict[str, str]:
        about = "24 pitches, 3 timbres, loudness, attack and decay"
        return _described(self, "log-mels", f"{about}: {score.FEATURES} numbers")

    def fingerprint(self) -> str:
        return _fingerprint(self.name, self._score)


@final
class NotesWave(Data):
    """The waveforms (1, 8192) of the same notes, each with its log-mel (80, 32): what a vocoder learns from."""

    name = "notes-wave"
    shape = (1, SAMPLES)
    classes = ()

    def __init__(self, seed: int = 0, count: int = COUNT) -> None:
        self._score = Score.drawn(count, seed)

    def __len__(self) -> int:
        return len(self._score.detune)

    @cached_property
    def _x0(self) -> Tensor:
        return play(self._score)[:, None]

    @cached_property
    def _c(self) -> Tensor:
        return listen.log_mel(self._x0[:, 0])

    @property
    def condition(self) -> tuple[int, ...]:
        return Notes.shape

    @property
    def ear(self) -> Ear:
        return WaveEar()

    def batch(self, indices: Sequence[int]) -> Batch:
        return Batch(self._x0[torch.as_tensor(indices, dtype=torch.long)], self.conditions(indices))

    def conditions(self, indices: Sequence[int]) -> Tensor:
        return self._c[torch.as_tensor(indices, dtype=torch.long)]

    def describe(self) -> dict[str, str]:
        return _described(self, "waveforms", "its log-mel, 80 bands x 32 frames")

    def fingerprint(self) -> str:
        return _fingerprint(self.name, self._score)


@final
class MelEar(Ear):
    """Hears log-mels; conditions are vectors."""

    rate, kinds = RATE, score.KINDS

    def sound(self, x: X) -> Tensor:
        return griffin_lim(spread(listen.power(x), listen.MEL).sqrt(), listen.MEL).clamp(-1, 1)

    def seen(self, x: X) -> Tensor:
        return x

    def kind(self, c: Tensor) -> Tensor:
        return torch.where(c.any(1), score.read_condition(c).kind, -1)

    def right(self, x: X, c: Tensor) -> Tensor:
        return listen.kind_of_mel(x) // len(score.TIMBRES) == score.read_condition(c).pitch

    def loudness_error(self, x: X, c: Tensor) -> Tensor:
        return (listen.loudness_of_mel(x) - score.read_condition(c).loudness).abs()

    def words(self, c: Tensor) -> list[str]:
        return score.words(score.read_condition(c))


@final
class WaveEar(Ear):
    """Hears waveforms; conditions are log-mels, which are heard as well."""

    rate, kinds = RATE, score.KINDS

    def sound(self, x: X) -> Tensor:
        return x[:, 0]

    def seen(self, x: X) -> Tensor:
        return listen.log_mel(x[:, 0])

    def kind(self, c: Tensor) -> Tensor:
        return torch.where(c.flatten(1).any(1), listen.kind_of_mel(c), -1)

    def right(self, x: X, c: Tensor) -> Tensor:
        return listen.pitch_of_sound(x[:, 0]) == listen.kind_of_mel(c) // len(score.TIMBRES)

    def loudness_error(self, x: X, c: Tensor) -> Tensor:
        return (listen.loudness_of_sound(x[:, 0]) - listen.loudness_of_mel(c)).abs()

    def words(self, c: Tensor) -> list[str]:
        kinds, loudness, names = listen.kind_of_mel(c).tolist(), listen.loudness_of_mel(c).tolist(), [*score.TIMBRES]
        parts = [(*divmod(kind, len(names)), level) for kind, level in zip(kinds, loudness, strict=True)]
        return [f"{score.PITCHES[pitch]} {names[timbre]}, {level:.0f} dB" for pitch, timbre, level in parts]


def _described(data: Data, form: str, condition: str) -> dict[str, str]:
    return {
        "data": f"{data.name}: short notes at {RATE:,} Hz, played from a seed",
        "items": f"{len(data):,} {form} of {SAMPLES / RATE:.3f} s",
        "condition": condition,
    }


def _fingerprint(name: str, drawn: Score) -> str:
    parts = [*vars(drawn.asked).values(), drawn.detune, drawn.jitter, drawn.phase]
    return digest([f"{name} {VERSION}".encode(), *(part.numpy().tobytes() for part in parts)])
