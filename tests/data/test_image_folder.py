import threading
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from fewstep.data import ImageFolder, batches
from fewstep.errors import DataError, RecipeError


def test_values_are_the_exact_floats(tmp_path):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(levels).save(tmp_path / "a.png")
    x0 = ImageFolder.open(tmp_path, channels=1).batch([0]).x0
    assert x0.dtype == torch.float32
    assert torch.equal(x0[0, 0].flatten(), torch.arange(256).float() / 127.5 - 1)
    assert (x0.min().item(), x0.max().item()) == (-1.0, 1.0)


def test_default_size_is_the_most_common_short_side(paint, tmp_path):
    for name, size in {"a": (4, 9), "b": (6, 6), "c": (9, 6)}.items():
        paint(f"{name}.png", size=size)
    data = ImageFolder.open(tmp_path)
    assert data.shape == (3, 6, 6)
    assert data.describe()["resize"].startswith("centre square of short sides 4 to 6")


def test_lazy_data_equal_those_in_memory(paint, tmp_path):
    for number in range(5):
        paint(f"{number % 2}/{number}.png")
    kept, lazy = ImageFolder.open(tmp_path), ImageFolder.open(tmp_path, memory_limit=5 * 3 * 8 * 8 - 1)
    assert (kept.lazy, lazy.lazy) == (False, True)
    assert kept.fingerprint() == lazy.fingerprint()
    for one, other in zip(*(islice(batches(data, 3, seed=0), 4) for data in (kept, lazy)), strict=True):
        assert torch.equal(one.x0, other.x0)
        assert torch.equal(one.c, other.c)
    assert "decoded for each batch" in lazy.describe()["items"]


def test_file_that_vanishes_is_reported_by_name(paint, tmp_path):
    path = paint("a.png")
    data = ImageFolder.open(tmp_path, memory_limit=0)
    path.unlink()
    with pytest.raises(DataError, match=r"a.png was fine when the folder was opened, but now cannot be decoded"):
        next(batches(data, 1, seed=0))


def test_progress_counts_every_image(paint, tmp_path):
    for number in range(3):
        paint(f"{number}.png")
    seen: list[tuple[int, int]] = []
    ImageFolder.open(tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_opening_leaves_no_threads(paint, tmp_path):
    paint("a.png")
    ImageFolder.open(tmp_path, memory_limit=0).batch([0, 0])
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("fewstep")] == []


def test_fingerprint_does_not_depend_on_the_place(paint, tmp_path):
    for folder in ("one", "two"):
        Image.new("RGB", (4, 4), "red").save((tmp_path / folder).mkdir() or tmp_path / folder / "a.png")
    assert ImageFolder.open(tmp_path / "one").fingerprint() == ImageFolder.open(tmp_path / "two").fingerprint()


@pytest.mark.parametrize("change", ["pixels", "class", "size"])
def test_fingerprint_depends_on_what_is_trained_on(paint, tmp_path, change: str):
    paint("x/a.png"), paint("y/b.png")
    before = ImageFolder.open(tmp_path).fingerprint()
    if change == "pixels":
        Image.new("RGB", (8, 8), "red").save(tmp_path / "x" / "a.png")
    if change == "class":
        (tmp_path / "y").rename(tmp_path / "z")
    assert ImageFolder.open(tmp_path, 4 if change == "size" else None).fingerprint() != before


def broken(tmp_path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x89PNG and no more")


def test_broken_image_is_skipped_and_named(paint, tmp_path):
    for number in range(9):
        paint(f"{number}.png")
    broken(tmp_path, "4x.png")
    data = ImageFolder.open(tmp_path, bad_share=0.1)
    assert len(data) == 9
    assert len(data.skipped) == 1
    assert data.skipped[0].startswith("4x.png: cannot be decoded")
    assert data.describe()["skipped"].startswith("1 images: 4x.png")


def test_items_after_a_broken_image_keep_their_pixels_and_labels(paint, tmp_path):
    paint("a/0.png"), paint("a/2.png"), paint("b/0.png")
    whole = ImageFolder.open(tmp_path).batch([0, 1, 2])
    broken(tmp_path, "a/1.png")
    rest = ImageFolder.open(tmp_path, bad_share=0.5)
    assert torch.equal(rest.batch([0, 1, 2]).x0, whole.x0)
    assert torch.equal(rest.batch([0, 1, 2]).c, whole.c)


def test_too_many_broken_images_are_refused_with_the_first_five(paint, tmp_path):
    paint("z.png")
    for number in range(7):
        broken(tmp_path, f"{number}.png")
    with pytest.raises(
        DataError, match=r"7 of 8 images .* 1.0%: 0.png: .*; 4.png: .*; and 2 more. Repair or remove"
    ) as caught:
        ImageFolder.open(tmp_path)
    assert "5.png" not in str(caught.value)


def test_folder_of_broken_images_is_refused_at_any_share(tmp_path):
    broken(tmp_path, "0.png")
    with pytest.raises(DataError, match="1 of 1 images"):
        ImageFolder.open(tmp_path, bad_share=1.0)


def test_grey_images_are_refused_with_the_remedy(paint, tmp_path):
    paint("0.png", mode="L"), paint("1.png", mode="L")
    with pytest.raises(DataError, match=r"All 2 images .* are grey, but colour.*channels=1"):
        ImageFolder.open(tmp_path)


def test_colour_images_are_refused_with_the_remedy(paint, tmp_path):
    paint("0.png"), paint("1.png")
    with pytest.raises(DataError, match=r"All 2 images .* are in colour, but grey.*channels=3"):
        ImageFolder.open(tmp_path, channels=1)


@pytest.mark.parametrize(("mode", "channels", "reason"), [("L", 3, "is grey"), ("RGB", 1, "is in colour")])
def test_some_images_of_the_other_kind_count_as_bad(paint, tmp_path, mode: str, channels: int, reason: str):
    for number in range(4):
        paint(f"{number}.png", mode="RGB" if channels == 3 else "L")
    paint("odd.png", mode=mode)
    with pytest.raises(DataError, match=f"1 of 5 images .*odd.png: {reason}"):
        ImageFolder.open(tmp_path, channels=channels)
    assert ImageFolder.open(tmp_path, channels=channels, bad_share=0.2).skipped[0].startswith(f"odd.png: {reason}")


def test_transparent_images_are_counted(paint, tmp_path):
    paint("0.png", mode="RGBA"), paint("1.png")
    assert ImageFolder.open(tmp_path).describe()["transparent"] == "1 images laid on white"


def test_images_enlarged_more_than_twice_are_counted(paint, tmp_path):
    for name, side in {"a": 4, "b": 7, "c": 8, "d": 16}.items():
        paint(f"{name}.png", size=(side, side))
    assert ImageFolder.open(tmp_path, 16).describe()["enlarged"] == "2 images more than 2x, the smallest from 4 pixels"


def test_decompression_bomb_is_a_broken_image(paint, tmp_path, monkeypatch):
    paint("small.png"), paint("large.png", size=(20, 15)), paint("huge.png", size=(30, 30))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)  # Pillow warns above it and refuses above twice as many
    data = ImageFolder.open(tmp_path, bad_share=0.9)
    assert data.shape == (3, 8, 8)
    assert [reason.partition(":")[0] for reason in data.skipped] == ["huge.png", "large.png"]
    assert all("decompression bomb" in reason for reason in data.skipped)


@pytest.mark.parametrize("wrong", [{"size": 0}, {"channels": 4}, {"bad_share": 1.5}])
def test_numbers_out_of_range_are_refused(paint, tmp_path, wrong: dict[str, float]):
    paint("a.png")
    with pytest.raises(RecipeError, match="Accepted: a size of at least 1"):
        ImageFolder.open(tmp_path, **wrong)
