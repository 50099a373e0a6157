"""From what a person types to data."""

from pathlib import Path

from fewstep.data.base import Data
from fewstep.data.digits import Digits
from fewstep.data.folder import ImageFolder
from fewstep.data.moving import MovingDigits
from fewstep.data.notes import Notes, NotesWave
from fewstep.data.prompts import Prompts
from fewstep.data.shapes import DIFFICULTIES, Shapes
from fewstep.data.shards import shards_of, unpacked
from fewstep.errors import DataError, nearest
from fewstep.files import CACHE

__all__ = ["NAMED", "open_data"]

PROMPTED = 512  # pixels a side that prompts are for when nobody says: those of Stable Diffusion
SHAPES = {"shapes": None} | {f"shapes-{each.name}": each for each in DIFFICULTIES}
NAMED = (Digits.name, MovingDigits.name, Notes.name, NotesWave.name, *SHAPES)
"""Data that are opened by a name instead of a path."""


def open_data(
    name_or_path: str, size: int | None = None, channels: int | None = None, cache: Path | None = None
) -> Data:
    """Open the data called ``name_or_path``: one of ``NAMED``, a ``.txt`` of prompts, or else a folder of images.

    ``size`` is the side of the square images (default: 8 for digits, 16 for shapes or the least that their
    difficulty needs, the most common short side for a folder), ``channels`` 1 for grey or 3 for colour (default: 1 for
    digits, 3 for shapes and a folder), or the frames of moving digits.  WebDataset shards (a ``.tar``, a folder of
    them, or ``name-{000000..000099}.tar``) are unpacked once into ``cache``, by default ``~/.cache/fewstep``.
    Raises ``DataError`` when there is no such thing, or it does not come in that form.
    """
    if name_or_path == Digits.name:
        return _digits(size, channels)
    if name_or_path == MovingDigits.name:
        return _moving(size, channels)
    if name_or_path in SHAPES:
        return _shapes(name_or_path, size, channels)
    if name_or_path in NAMED:
        return _notes(name_or_path, size, channels)
    if Path(name_or_path).suffix == ".txt" and Path(name_or_path).exists():
        return Prompts.open(name_or_path, PROMPTED if size is None else size)
    if (shards := shards_of(Path(name_or_path))) or Path(name_or_path).exists():
        place = unpacked(shards, cache or CACHE) if shards else Path(name_or_path)
        return ImageFolder.open(place, size, 3 if channels is None else channels)
    raise DataError(
        f"No data are called {name_or_path!r}, and no such folder exists: {nearest(name_or_path, NAMED)} "
        "Give one of these names, or a folder: the path of one that holds images; or for pipelines a .txt of prompts."
    )


def _digits(size: int | None, channels: int | None) -> Digits:
    """Return the digits, unless they were asked for in a form that they do not have."""
    if size not in (None, 8) or channels not in (None, 1):
        asked = f"size {size or 8} with {channels or 1} channel(s)"
        raise DataError(
            f"The digits were asked for at {asked}, but they are grey scans of 8x8 pixels. "
            "Leave size and channels out (or give 8 and 1), or give a folder of images, which are resized."
        )
    return Digits()


def _moving(size: int | None, channels: int | None) -> MovingDigits:
    """Return the moving digits, unless they were asked for in a form that they do not have."""
    frames, side = MovingDigits.shape[0], MovingDigits.shape[-1]
    if size not in (None, side) or channels not in (None, frames):
        raise DataError(
            f"The moving digits were asked for at size {size or side} with {channels or frames} channel(s), but they "
            f"are clips of {frames} grey frames of {side}x{side} pixels. Leave size and channels out (or give {side} "
            f"and {frames}), or give a folder of images, which are resized."
        )
    return MovingDigits()


def _shapes(name: str, size: int | None, channels: int | None) -> Shapes:
    """Return shapes; a name without a difficulty leaves it to the size."""
    if channels not in (None, 3):
        raise DataError(
            f"The data {name!r} were asked for with {channels} channel(s), but shapes are told apart by colour. Leave "
            "channels out, or give 3."
        )
    difficulty = SHAPES[name]
    if difficulty is None:
        return Shapes() if size is None else Shapes(size)
    return Shapes(difficulty.smallest if size is None else size, difficulty.name)


def _notes(name: str, size: int | None, channels: int | None) -> Data:
    """Return the notes, unless they were asked for as if they were images."""
    if size is not None or channels is not None:
        raise DataError(
            f"The data {name!r} were asked for at size {size} with {channels} channel(s), but they are sounds of one "
            "form. Leave size and channels out, or give a folder of images, which are resized."
        )
    return Notes() if name == Notes.name else NotesWave()
