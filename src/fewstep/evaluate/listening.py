"""Sounds to listen to: WAV files, and players with pictures of the spectra for a report."""

import wave
from base64 import b64encode
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor

from fewstep.errors import DataError, UnhealthyTraining
from fewstep.evaluate.rows import Row
from fewstep.files import write_whole

__all__ = ["Heard", "Listening", "heard_words", "players", "wav", "write_wav"]

GAP = 0.1  # seconds of silence between two sounds in one file
COLOURS = "magma"


@dataclass(frozen=True, eq=False)
class Heard:
    """One row of players: what made the sounds, what that cost or is worth, sounds (n, samples) in [-1, 1].

    ``spectra`` (n, bands, frames) in [-1, 1] are shown above the players, low bands at the bottom.
    """

    title: str
    subtitle: str
    sounds: Tensor
    spectra: Tensor


@dataclass(frozen=True, eq=False)
class Listening:
    """Sounds of every model side by side: ``asked`` says above each column what is played; ``rate`` is in Hz."""

    rate: int
    asked: list[str]
    rows: list[Heard]


def wav(sounds: Tensor, rate: int) -> bytes:
    """Return a WAV file (16 bits, one channel) of sounds (n, samples) in [-1, 1], one after the other.

    Raises ``DataError`` when there is none, and ``UnhealthyTraining`` when a value is not finite.
    """
    if sounds.ndim != 2 or len(sounds) == 0:
        raise DataError(f"A WAV file needs sounds of shape (n, samples) with n at least 1, not {tuple(sounds.shape)}.")
    if not sounds.isfinite().all():
        raise UnhealthyTraining(
            "The sounds hold values that are not finite. The network that made them has diverged: lower its learning "
            "rate or go back to a checkpoint."
        )
    silence = torch.zeros(len(sounds), round(GAP * rate))
    line = torch.cat([sounds.detach().float().cpu(), silence], 1).flatten()[: -silence.shape[1]]
    content = BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((line.clamp(-1, 1) * 32767).round().to(torch.int16).numpy().astype("<i2").tobytes())
    return content.getvalue()


def write_wav(sounds: Tensor, path: Path, rate: int) -> None:
    """Write ``wav`` to a file, whole or not at all."""
    write_whole(path, wav(sounds, rate))


def heard_words(row: Row, seconds: float) -> str:
    """Say how good and how fast sounds of so many seconds are: pitch, loudness, times faster than real time."""
    said = [] if row.accuracy is None else [f"pitch right {row.accuracy:.1%}"]
    if row.loudness_error is not None:
        said.append(f"loudness {row.loudness_error:.2f} dB off")
    if row.seconds_per_image:
        said.append(f"{seconds / row.seconds_per_image:.0f} x real time")
    return "\n".join(said)


def players(listening: Listening) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Return per row its title, its subtitle, and per sound a picture and a WAV file, as data URIs."""
    shown = [
        [_player(sound, spectrum, listening.rate) for sound, spectrum in zip(row.sounds, row.spectra, strict=True)]
        for row in listening.rows
    ]
    return [(row.title, row.subtitle, line) for row, line in zip(listening.rows, shown, strict=True)]


def _player(sound: Tensor, spectrum: Tensor, rate: int) -> tuple[str, str]:
    return _uri("image/png", _picture(spectrum)), _uri("audio/wav", wav(sound[None], rate))


def _picture(spectrum: Tensor) -> bytes:
    """Draw one pixel per band and frame; the page enlarges it."""
    from matplotlib.image import imsave  # here, so that measuring needs no drawing library

    content = BytesIO()
    imsave(content, spectrum.cpu().numpy(), vmin=-1, vmax=1, cmap=COLOURS, origin="lower", format="png")
    return content.getvalue()


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{b64encode(content).decode()}"
