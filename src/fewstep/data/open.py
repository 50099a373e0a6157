"""From what a person types to data."""

from pathlib import Path

from fewstep.data.base import Data
from fewstep.data.digits import Digits
from fewstep.data.folder import ImageFolder
from fewstep.errors import DataError, nearest

__all__ = ["open_data"]


def open_data(name_or_path: str, size: int | None = None, channels: int | None = None) -> Data:
    """Open the data called ``name_or_path``: "digits", or else a folder of images.

    ``size`` is the side of the square images (default: 8 for digits, the most common short side for a folder),
    ``channels`` 1 for grey or 3 for colour (default: 1 for digits, 3 for a folder).
    Raises ``DataError`` when there is no such thing, or it does not come in that form.
    """
    if name_or_path == Digits.name:
        return _digits(size, channels)
    if Path(name_or_path).exists():
        return ImageFolder.open(name_or_path, size, 3 if channels is None else channels)
    raise DataError(
        f"No data are called {name_or_path!r}, and no such folder exists: {nearest(name_or_path, [Digits.name])} "
        "Give that name, or a folder: the path of one that holds images."
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
