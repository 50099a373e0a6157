"""Strips and grids show what they are given, at the size they promise."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from fewstep.errors import DataError, UnhealthyTraining
from fewstep.evaluate import Strip, grid, strip
from fewstep.evaluate.picture import BAND_GAP, GAP, MARGIN
from fewstep.evaluate.pixels import eight_bit


def noise(n: int, channels: int, size: int) -> Tensor:
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


@pytest.mark.parametrize(("size", "tile"), [(8, 64), (12, 60), (28, 56), (64, 64), (100, 100), (512, 256)])
def test_grid_enlarges_by_whole_factors_and_reduces_what_is_large(size: int, tile: int, tmp_path: Path):
    grid(noise(5, 1, size), tmp_path / "grid.png", 3)
    assert size_of(tmp_path / "grid.png") == (3 * tile + 2 * GAP, 2 * tile + GAP)


def test_enlarged_pixels_stay_pixels(tmp_path: Path):
    images = noise(1, 3, 8)
    grid(images, tmp_path / "grid.png", 1)
    with Image.open(tmp_path / "grid.png") as shown:
        assert shown.reduce(8).tobytes() == eight_bit(images).numpy().tobytes()


def test_strip_is_as_wide_as_its_longest_row_and_as_high_as_all(tmp_path: Path):
    rows = [Strip("Teacher", "35 calls", noise(4, 1, 8)), Strip("Student", "1 call", noise(6, 1, 8))]
    strip(rows, tmp_path / "six.png")
    strip([rows[0], Strip("Student", "1 call", noise(8, 1, 8))], tmp_path / "eight.png")
    six, eight = size_of(tmp_path / "six.png"), size_of(tmp_path / "eight.png")
    assert eight[0] - six[0] == 2 * (64 + GAP)
    assert six[1] == eight[1] == 2 * MARGIN + 2 * 64 + BAND_GAP


def test_strip_shows_captions_and_images(tmp_path: Path):
    black, white = torch.full((3, 1, 8, 8), -1.0), torch.ones(3, 1, 8, 8)
    pictures = []
    for title, images in (("Teacher", black), ("Student", black), ("Teacher", white)):
        strip([Strip(title, "Fréchet distance 0.1", images)], tmp_path / "strip.png")
        pictures.append((tmp_path / "strip.png").read_bytes())
    assert len(set(pictures)) == 3


def test_heads_of_columns_add_their_lines_and_no_width(tmp_path: Path):
    row = Strip("Teacher", "35 calls", noise(3, 1, 8))
    pictures = {"none": (), "short": ("one", "two", "six"), "long": ("a disc", "a red disc above a blue square", "x")}
    for name, heads in pictures.items():
        strip([row], tmp_path / f"{name}.png", heads)
    none, short, long = (size_of(tmp_path / f"{name}.png") for name in pictures)
    assert none[0] == short[0] == long[0]
    line = short[1] - none[1] - BAND_GAP
    assert 10 <= line <= 16
    assert (long[1] - none[1] - BAND_GAP) % line == 0
    assert long[1] - none[1] - BAND_GAP >= 3 * line
    with Image.open(tmp_path / "none.png") as bare, Image.open(tmp_path / "long.png") as headed:
        below = headed.crop((0, headed.height - MARGIN - 64, headed.width, headed.height))
        assert below.tobytes() == bare.crop((0, bare.height - MARGIN - 64, bare.width, bare.height)).tobytes()


def test_bytes_are_rounded_and_clamped():
    levels = torch.tensor([-2.0, -1.0, -1 + 1.6 / 127.5, 0.9999, 1.0, 2.0]).reshape(6, 1, 1, 1)
    assert eight_bit(levels).flatten().tolist() == [0, 0, 2, 255, 255, 255]


def test_nothing_to_draw_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="at least one"):
        strip([], tmp_path / "strip.png")
    with pytest.raises(DataError, match="at least one"):
        grid(noise(0, 1, 8), tmp_path / "grid.png", 2)


def test_frames_of_a_clip_stand_side_by_side(tmp_path: Path):
    clips = noise(2, 4, 8)
    assert torch.equal(eight_bit(clips)[:, :, 8:16], eight_bit(clips[:, 1:2]))
    grid(clips, tmp_path / "grid.png", 2)
    assert size_of(tmp_path / "grid.png") == (2 * 4 * 64 + GAP, 64)


def test_signals_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match="a picture of their own"):
        grid(noise(2, 4, 8)[0], tmp_path / "grid.png", 2)


def test_images_that_are_not_finite_are_a_diagnosis(tmp_path: Path):
    with pytest.raises(UnhealthyTraining, match="2 of 2"):
        grid(noise(2, 1, 8) * torch.nan, tmp_path / "grid.png", 2)
    assert list(tmp_path.iterdir()) == []
