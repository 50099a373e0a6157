"""Pictures of samples: a strip that sets models side by side, one row each, and a plain grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from fewstep.errors import DataError
from fewstep.evaluate.pixels import eight_bit
from fewstep.files import write_whole

__all__ = ["Strip", "grid", "strip"]

TILE, LARGEST = 64, 256  # images below TILE are enlarged to about it, images above LARGEST are reduced to it
MARGIN, GAP, BAND_GAP, CAPTION_GAP = 20, 4, 16, 24
PAPER, INK, FADED = (255, 255, 255), (24, 28, 33), (101, 109, 118)
TITLE_SIZE, SUBTITLE_SIZE, HEAD_SIZE = 15, 12, 10


@dataclass(frozen=True, eq=False)
class Strip:
    """One row of a strip: what made the images, what that cost or is worth, images (n, channels, h, w) in [-1, 1]."""

    title: str
    subtitle: str
    images: Tensor


def strip(rows_of_images: list[Strip], path: Path, heads: Sequence[str] = ()) -> None:
    """Write a PNG with one row of images per strip and its caption on the left; either text may have several lines.

    ``heads`` stand above the columns.  Small images are enlarged by a whole factor, nearest neighbour, so that pixels
    stay pixels. Raises ``DataError`` when there is nothing to draw.  Of images with other than 1 or 3 channels, the
    channels stand side by side.
    """
    captions = [_caption(row) for row in rows_of_images]
    bands = [_sheet(row.images, len(row.images)) for row in rows_of_images]
    if not bands:
        raise DataError("A strip needs at least one row of images.")
    if heads:
        count = len(rows_of_images[0].images)
        captions = [Image.new("RGB", (1, 1), PAPER), *captions]
        bands = [_heads(heads[:count], (bands[0].width + GAP) // count), *bands]
    left = MARGIN + max(caption.width for caption in captions) + CAPTION_GAP
    heights = [max(pair) for pair in zip((c.height for c in captions), (b.height for b in bands), strict=True)]
    size = (left + max(band.width for band in bands) + MARGIN, 2 * MARGIN + sum(heights) + BAND_GAP * (len(bands) - 1))
    paper, top = Image.new("RGB", size, PAPER), MARGIN
    for caption, band, height in zip(captions, bands, heights, strict=True):
        paper.paste(caption, (MARGIN, top + (height - caption.height) // 2))
        paper.paste(band, (left, top + (height - band.height) // 2))
        top += height + BAND_GAP
    _save(paper, path)


def grid(images: Tensor, path: Path, columns: int, scale: int | None = None) -> None:
    """Write a PNG of images (n, channels, h, w) in [-1, 1], row by row, in so many columns.

    Each pixel becomes ``scale`` x ``scale`` of them; without a scale, tiles have the size of those of ``strip``.
    """
    _save(_sheet(images, columns, scale), path)


def _sheet(images: Tensor, columns: int, scale: int | None = None) -> Image.Image:
    tiles = [_tile(Image.fromarray(pixels.squeeze(-1).numpy()), scale) for pixels in eight_bit(images)]
    if not tiles or columns < 1:
        raise DataError(f"A grid needs at least one image and one column, not {len(tiles)} and {columns}.")
    columns = min(columns, len(tiles))
    across, down = tiles[0].width + GAP, tiles[0].height + GAP
    sheet = Image.new("RGB", (columns * across - GAP, -(-len(tiles) // columns) * down - GAP), PAPER)
    for i, tile in enumerate(tiles):
        sheet.paste(tile, (i % columns * across, i // columns * down))
    return sheet


def _tile(image: Image.Image, factor: int | None) -> Image.Image:
    longest = max(image.size)
    if factor is not None or longest <= TILE:
        factor = factor or TILE // image.height
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    scale = min(1.0, LARGEST / longest)
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)


def _caption(row: Strip) -> Image.Image:
    title, subtitle = _font("DejaVuSans-Bold", TITLE_SIZE), _font("DejaVuSans", SUBTITLE_SIZE)
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    width, middle = (round(edge) for edge in pen.textbbox((0, 0), row.title, font=title)[2:])
    below, bottom = (round(edge) for edge in pen.textbbox((0, middle + 6), row.subtitle, font=subtitle)[2:])
    paper = Image.new("RGB", (max(width, below), bottom + 2), PAPER)
    pen = ImageDraw.Draw(paper)
    pen.text((0, 0), row.title, fill=INK, font=title)
    pen.text((0, middle + 6), row.subtitle, fill=FADED, font=subtitle)
    return paper


def _heads(texts: Sequence[str], across: int) -> Image.Image:
    """Return texts side by side, each in lines that are no wider than its column where words allow it."""
    font = _font("DejaVuSans", HEAD_SIZE)
    columns = [_lines(text.split(), font, across - GAP) for text in texts]
    line = sum(font.getmetrics()) + 1
    deepest = max(map(len, columns))
    paper = Image.new("RGB", (across * len(texts) - GAP, line * deepest), PAPER)
    pen = ImageDraw.Draw(paper)
    for i, lines in enumerate(columns):
        top = line * (deepest - len(lines))
        pen.text((i * across, top), "\n".join(lines), fill=FADED, font=font, spacing=1)
    return paper


def _lines(words: Sequence[str], font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    lines: list[str] = []
    for word in words:
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _font(face: str, size: int) -> ImageFont.FreeTypeFont:
    """A face that comes with matplotlib: the font that comes with Pillow knows neither bold nor é."""
    return ImageFont.truetype(str(files("matplotlib") / "mpl-data" / "fonts" / "ttf" / f"{face}.ttf"), size)


def _save(image: Image.Image, path: Path) -> None:
    content = BytesIO()
    image.save(content, format="PNG", optimize=True)
    write_whole(path, content.getvalue())
