"""From an image file to pixels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

__all__ = ["COLOUR", "GREY", "SUFFIXES", "Picture", "Unusable", "decode", "decode_lenient", "short_side"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # no others: some of them start programs
GREY_MODES = ("1", "L", "LA", "La")
GREY = "is grey, but colour was asked for (channels=3)"
COLOUR = "is in colour, but grey was asked for (channels=1)"


class Unusable(Exception):
    """An image that cannot be used; the message is the reason, without the name of the file."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded image: pixels (channels, size, size), and what was done to get there.

    ``side`` is the short side of the original, ``transparent`` whether it was laid on white.
    """

    pixels: UInt8[Tensor, "channels size size"]
    side: int
    transparent: bool


def decode(path: Path, size: int, channels: int) -> Picture:
    """Decode the first frame upright, lay it on white, crop the centre square and resize it to ``size``.

    Pillow's Lanczos filter shrinks (with antialiasing) and its bicubic filter enlarges; an image that has the size is
    passed on exactly. 16-bit grey is rounded to 8 bits. Colour and grey are never converted into each other, except
    that an image stored in colour whose three channels are equal counts as grey where grey was asked for.
    Raises ``Unusable`` with the reason.
    """
    image, transparent = _opaque(_eight_bits(_read(path)))
    image = _as_colour(image) if channels == 3 else _as_grey(image)
    side = min(image.size)
    values = np.array(_square(image, size)).reshape(size, size, channels)
    return Picture(torch.from_numpy(values).permute(2, 0, 1).contiguous(), side, transparent)


def decode_lenient(path: Path, size: int, channels: int) -> UInt8[Tensor, "channels size size"]:
    """Decode an image that comes beside another one, where grey and colour mean the same: masks, edges, depth.

    Raises ``Unusable`` with the reason.
    """
    image, _ = _opaque(_eight_bits(_read(path)))
    values = np.array(_square(image.convert("RGB" if channels == 3 else "L"), size)).reshape(size, size, channels)
    return torch.from_numpy(values).permute(2, 0, 1).contiguous()


def short_side(path: Path) -> int:
    """Return the short side that the header states. Raises ``Unusable`` when there is none."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            return min(image.size)
    except Exception as error:  # as in _read
        raise Unusable(f"{type(error).__name__}: {error}") from error


def _read(path: Path) -> Image.Image:
    """Read the first frame, turned upright as its EXIF orientation says."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    except Exception as error:  # a broken file makes Pillow raise OSError, SyntaxError, ValueError, struct.error, ...
        raise Unusable(f"cannot be decoded ({type(error).__name__}: {error})") from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """Round 16-bit grey to 8 bits, 65535 to 255; wider pixels have no known range."""
    if image.mode in ("I", "F"):
        raise Unusable(f"has 32-bit pixels (mode {image.mode}), whose range is unknown; save it with 8 or 16 bits")
    if not image.mode.startswith("I;16"):
        return image
    if image.has_transparency_data:
        raise Unusable("has 16-bit pixels with a transparent value; save it with 8 bits or without transparency")
    deep = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((deep + 128) // 257).astype(np.uint8))


def _opaque(image: Image.Image) -> tuple[Image.Image, bool]:
    """Lay the image on white and say whether anything shone through; an alpha channel that hides nothing is dropped."""
    if not image.has_transparency_data:
        return image, False
    layer = image.convert("RGBA")
    shines = layer.getchannel("A").getextrema() != (255, 255)
    flat = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return (flat.getchannel("R") if image.mode in GREY_MODES else flat), shines


def _as_colour(image: Image.Image) -> Image.Image:
    """Turn palette, CMYK and other colour spaces into RGB; grey is refused."""
    if image.mode in GREY_MODES:
        raise Unusable(GREY)
    return image.convert("RGB")


def _as_grey(image: Image.Image) -> Image.Image:
    """Take grey as stored, or colour of which every pixel is grey."""
    if image.mode in GREY_MODES:
        return image.convert("L")
    red, green, blue = image.convert("RGB").split()
    if red.tobytes() != green.tobytes() or red.tobytes() != blue.tobytes():
        raise Unusable(COLOUR)
    return red


def _square(image: Image.Image, size: int) -> Image.Image:
    """Crop the centre square and resize it."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    centre = image.crop((left, top, left + side, top + side))
    smooth = Image.Resampling.LANCZOS if side > size else Image.Resampling.BICUBIC
    return centre if side == size else centre.resize((size, size), smooth)
