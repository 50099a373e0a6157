"""Further images of an item: from metadata.jsonl, or drawn from a seed."""

import pytest
import torch
from PIL import Image

from fewstep.data import Digits, ImageFolder, read_further
from fewstep.data.shapes import Shapes
from fewstep.errors import DataError


@pytest.fixture
def two(paint, metadata):
    """A folder of two images, each with a mask (grey) and a source (colour)."""
    for name in ("0.png", "1.png", "source/0.png", "source/1.png"):
        paint(name)
    for name in ("mask/0.png", "mask/1.png"):
        paint(name, mode="L")
    return metadata(
        {"file_name": "1.png", "text": "b", "mask": "mask/1.png", "source_file_name": "source/1.png"},
        {"file_name": "0.png", "text": "a", "mask": "mask/0.png", "source": "source/0.png"},
    )


def test_columns_belong_to_their_items(two):
    data = ImageFolder.open(two)
    assert len(data) == 2
    assert data.skipped == ()
    assert data.describe()["further"] == "mask, source"
    found = data.images_of("source", [1, 0])
    assert found.shape == (2, 3, 8, 8)
    assert found[0].equal(read_further(two / "source/1.png", "source", 8))
    mask = data.images_of("mask", [0])
    pixels = list(Image.open(two / "mask/0.png").tobytes())
    assert mask.shape == (1, 1, 8, 8)
    assert ((mask + 1) * 127.5).round().flatten().tolist() == pixels


def test_grey_and_colour_are_the_same_to_further_images(two):
    assert read_further(two / "mask/0.png", "control", 8).shape == (3, 8, 8)
    assert read_further(two / "source/0.png", "mask", 4).shape == (1, 4, 4)


def test_other_further_images_are_other_data(two):
    before = ImageFolder.open(two).fingerprint()
    Image.open(two / "mask/0.png").rotate(90).save(two / "mask/0.png")
    assert ImageFolder.open(two).fingerprint() != before


def test_column_that_is_not_there_is_named(two):
    with pytest.raises(DataError, match=r"no 'control' images.*metadata\.jsonl.*\"control\": \"control/0001\.png\""):
        ImageFolder.open(two).images_of("control", [0])
    with pytest.raises(DataError, match="have no 'mask' images"):
        Digits().images_of("mask", [0])


def test_files_that_are_not_there_are_named(two):
    (two / "mask/1.png").unlink()
    data = ImageFolder.open(two)
    assert data.images_of("source", [0]).shape == (1, 3, 8, 8)
    with pytest.raises(DataError, match=r"'mask' of metadata\.jsonl names no image .* 1 of 2 items.*: 1\.png"):
        data.images_of("mask", [0])


def test_broken_file_is_named(two):
    (two / "mask/1.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"mask/1\.png, given as mask, cannot be decoded.*Give an image"):
        ImageFolder.open(two).images_of("mask", [1])


def test_source_that_is_no_image_is_passed_over(paint, metadata):
    paint("0.png")
    data = ImageFolder.open(metadata({"file_name": "0.png", "source": "a camera"}))
    assert data.further == {}


def test_path_out_of_the_folder_is_refused(paint, metadata):
    paint("0.png")
    with pytest.raises(DataError, match=r"gives mask '\.\./0\.png'"):
        ImageFolder.open(metadata({"file_name": "0.png", "mask": "../0.png"}))


# --- shapes


def test_shapes_draw_the_same_again():
    for name in ("control", "mask", "source"):
        both = [Shapes(32).images_of(name, [5, 2]) for _ in range(2)]
        assert both[0].equal(both[1])
        assert both[0][1:].equal(Shapes(32).images_of(name, [2]))
        assert not both[0].equal(Shapes(32, seed=1).images_of(name, [5, 2]))


def test_masks_are_rectangles():
    masks = Shapes(32).images_of("mask", range(20))
    assert masks.unique().tolist() == [-1, 1]
    for mask in masks[:, 0] > 0:
        rows, columns = mask.any(1), mask.any(0)
        assert 64 <= int(mask.sum()) == int(rows.sum()) * int(columns.sum()) <= 400


def test_source_differs_in_one_object():
    shapes = Shapes(32)
    images, sources = shapes.batch(range(8)).x0, shapes.images_of("source", range(8))
    share = ((images - sources).abs().amax(1) > 0.05).float().mean((1, 2))
    assert share.gt(0.01).all()
    assert share.lt(0.5).all()


def test_edges_are_where_objects_end():
    found = Shapes(32).images_of("control", range(8))
    white = (found > 0).float().mean((1, 2, 3))
    assert found.unique().tolist() == [-1, 1]
    assert white.gt(0.02).all()
    assert white.lt(0.4).all()
    assert found[:, 0].equal(found[:, 2])
    assert torch.isfinite(found).all()
