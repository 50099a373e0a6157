from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fewstep.data.decode import Unusable, decode

FOUR = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [10, 20, 30]]], dtype=np.uint8)  # 2x2 in colour


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def values(path: Path, size: int = 2, channels: int = 3) -> np.ndarray:
    """Pixels as (size, size, channels), or (size, size) for grey."""
    return decode(path, size, channels).pixels.permute(1, 2, 0).squeeze(-1).numpy()


def test_image_of_the_right_size_is_passed_on_exactly(tmp_path):
    assert np.array_equal(values(saved(Image.fromarray(FOUR), tmp_path / "a.png")), FOUR)


def test_pixels_are_channels_first(tmp_path):
    picture = decode(saved(Image.fromarray(FOUR), tmp_path / "a.png"), 2, 3)
    assert picture.pixels.shape == (3, 2, 2)
    assert picture.pixels[0].tolist() == [[255, 0], [0, 10]]
    assert (picture.side, picture.transparent) == (2, False)


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (8, 1), (3, 2), (6, 3)])
def test_exif_orientation_is_respected(tmp_path, orientation: int, turns: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(Image.fromarray(FOUR), tmp_path / "a.png", exif=exif)
    assert np.array_equal(values(path), np.rot90(FOUR, turns))


def test_transparent_pixels_are_laid_on_white(tmp_path):
    alpha = np.array([[255, 0], [0, 51]], dtype=np.uint8)
    picture = decode(saved(Image.fromarray(np.dstack([FOUR, alpha])), tmp_path / "a.png"), 2, 3)
    assert picture.transparent
    expected = [[255, 0, 0], [255, 255, 255], [255, 255, 255], [206, 208, 210]]  # the last: 0.2 v + 0.8 * 255
    assert picture.pixels.flatten(1).T.tolist() == expected


def test_alpha_channel_that_hides_nothing_is_dropped(tmp_path):
    picture = decode(
        saved(Image.fromarray(np.dstack([FOUR, np.full((2, 2), 255, np.uint8)])), tmp_path / "a.png"), 2, 3
    )
    assert not picture.transparent
    assert np.array_equal(picture.pixels.permute(1, 2, 0), FOUR)


def test_grey_with_alpha_stays_grey(tmp_path):
    image = Image.fromarray(np.array([[[10, 255], [20, 0]]] * 2, dtype=np.uint8))
    assert values(saved(image, tmp_path / "a.png"), channels=1).tolist() == [[10, 255]] * 2


def test_palette_image_has_the_colours_of_its_palette(tmp_path):
    image = Image.fromarray(FOUR).quantize(4)
    assert image.mode == "P"
    assert np.array_equal(values(saved(image, tmp_path / "a.png")), np.asarray(image.convert("RGB")))


def test_transparent_palette_entry_becomes_white(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [1, 0]], dtype=np.uint8), mode=None).convert("P")
    image.putpalette([9, 8, 7, 1, 2, 3])
    pixels = values(saved(image, tmp_path / "a.png", transparency=0))
    assert pixels.tolist() == [[[255] * 3, [1, 2, 3]], [[1, 2, 3], [255] * 3]]


def test_16_bit_grey_is_rounded_to_8_bits(tmp_path):
    deep = np.array([[0, 65535], [257 * 100 + 128, 257 * 100 + 129]], dtype=np.uint16)
    path = saved(Image.fromarray(deep), tmp_path / "a.png")
    assert values(path, channels=1).tolist() == [[0, 255], [100, 101]]


def test_16_bit_tiff_is_read_like_png(tmp_path):
    deep = np.array([[0, 65535], [32896, 514]], dtype=np.uint16)
    assert values(saved(Image.fromarray(deep), tmp_path / "a.tiff"), channels=1).tolist() == [[0, 255], [128, 2]]


def test_one_bit_image_is_black_and_white(tmp_path):
    image = Image.fromarray(np.array([[0, 255], [255, 0]], dtype=np.uint8)).convert("1")
    assert values(saved(image, tmp_path / "a.png"), channels=1).tolist() == [[0, 255], [255, 0]]


@pytest.mark.parametrize("values_of", [np.int32, np.float32])
def test_32_bit_pixels_are_refused(tmp_path, values_of: type):
    path = saved(Image.fromarray(np.zeros((2, 2), values_of)), tmp_path / "a.tiff")
    with pytest.raises(Unusable, match=r"32-bit pixels .* range is unknown"):
        decode(path, 2, 1)


def test_cmyk_is_converted_to_colour(tmp_path):
    path = saved(Image.new("CMYK", (2, 2), (0, 0, 0, 255)), tmp_path / "a.tiff")
    assert values(path).max() == 0


def test_grey_is_not_converted_to_colour(tmp_path):
    with pytest.raises(Unusable, match="is grey, but colour was asked for"):
        decode(saved(Image.new("L", (2, 2)), tmp_path / "a.png"), 2, 3)


def test_colour_is_not_converted_to_grey(tmp_path):
    with pytest.raises(Unusable, match="is in colour, but grey was asked for"):
        decode(saved(Image.fromarray(FOUR), tmp_path / "a.png"), 2, 1)


def test_colour_file_of_grey_pixels_is_grey(tmp_path):
    grey = np.array([[1, 2], [3, 4]], dtype=np.uint8)
    path = saved(Image.fromarray(np.dstack([grey] * 3)), tmp_path / "a.png")
    assert np.array_equal(values(path, channels=1), grey)


def test_first_frame_of_an_animation_is_read(tmp_path):
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    path = saved(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert values(path)[0, 0].tolist() == [255, 0, 0]


def test_centre_square_is_cropped(tmp_path):
    wide = np.zeros((2, 6), np.uint8)
    wide[:, 2:4] = [[1, 2], [3, 4]]
    assert values(saved(Image.fromarray(wide), tmp_path / "a.png"), channels=1).tolist() == [[1, 2], [3, 4]]


def test_shrinking_is_antialiased(tmp_path):
    board = np.indices((64, 64)).sum(0) % 2 * 255
    path = saved(Image.fromarray(board.astype(np.uint8)), tmp_path / "a.png")
    inner = torch.from_numpy(values(path, size=8, channels=1)[1:-1, 1:-1].copy()).float()
    assert (inner - 127.5).abs().max() < 3


def test_resizing_keeps_a_flat_colour(tmp_path):
    path = saved(Image.new("RGB", (5, 7), (10, 200, 30)), tmp_path / "a.png")
    assert {tuple(pixel) for pixel in values(path, size=16).reshape(-1, 3).tolist()} == {(10, 200, 30)}


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif", "tiff"])
def test_truncated_file_is_refused(tmp_path, suffix: str):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(Image.fromarray(noise), tmp_path / f"a.{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(Unusable, match="cannot be decoded"):
        decode(path, 8, 3)


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"not an image"])
def test_file_that_is_no_image_is_refused(tmp_path, content: bytes):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(Unusable, match="cannot be decoded"):
        decode(path, 8, 3)
