import os

import pytest

from fewstep.data import ImageFolder, Prompts
from fewstep.errors import DataError


def test_sub_folders_are_classes_in_order(paint, tmp_path):
    for name in ("dog/a.png", "cat/b.png", "cat/a.png", "cat/deep/c.png"):
        paint(name)
    data = ImageFolder.open(tmp_path)
    assert data.classes == ("cat", "dog")
    assert [path.relative_to(tmp_path).as_posix() for path in data.paths] == [
        "cat/a.png",
        "cat/b.png",
        "cat/deep/c.png",
        "dog/a.png",
    ]
    assert data.batch(range(4)).c.tolist() == [0, 0, 0, 1]
    assert data.describe()["condition"] == "2 classes from the sub-folders: cat, dog"


def test_numbers_as_classes_sort_numerically(paint, tmp_path):
    for name in ("10", "9", "b", "1", "a"):
        paint(f"{name}/0.png")
    assert ImageFolder.open(tmp_path).classes == ("1", "9", "10", "a", "b")


def test_flat_folder_is_unconditional(paint, tmp_path):
    paint("b.png"), paint("a.png")
    data = ImageFolder.open(tmp_path)
    assert data.classes == ()
    assert data.batch([0, 1]).c is None
    assert [path.name for path in data.paths] == ["a.png", "b.png"]
    assert data.describe()["condition"].startswith("none: a flat folder")


def test_suffixes_are_known_in_capitals(paint, tmp_path):
    paint("a.PNG"), paint("b.JPG", format="JPEG")
    assert len(ImageFolder.open(tmp_path)) == 2


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff"])
def test_format_is_read(paint, tmp_path, suffix: str):
    paint(f"a.{suffix}")
    assert ImageFolder.open(tmp_path).batch([0]).x0.shape == (1, 3, 8, 8)


def test_hidden_files_are_left_out(paint, tmp_path):
    for name in ("a.png", "._a.png", ".cache/b.png", "__MACOSX/c.png"):
        paint(name)
    assert len(ImageFolder.open(tmp_path)) == 1


def test_other_files_are_counted(paint, tmp_path):
    paint("a.png")
    (tmp_path / "notes.md").write_text("where they are from")
    assert ImageFolder.open(tmp_path).describe()["ignored"] == "1 other file: .md (1)"


def test_text_beside_each_image_is_its_caption(paint, tmp_path):
    for name, text in (("10_dog/0.png", "a red\n disc "), ("b.webp", "a blue ring")):
        paint(name).with_suffix(".txt").write_text(text)
    data = ImageFolder.open(tmp_path)
    assert data.captions == ("a red disc", "a blue ring")
    assert data.captions_of([1, 0]) == ["a blue ring", "a red disc"]
    assert data.classes == ()


def test_images_without_a_text_are_counted_and_named(paint, tmp_path):
    paint("a.png").with_suffix(".txt").write_text("a red disc")
    paint("b.png")
    with pytest.raises(DataError, match=r"1 of 2 images .* have no \.txt .* the others have: b\.png"):
        ImageFolder.open(tmp_path)


@pytest.mark.parametrize("content", [b" \n", b"\xff\xfe"])
def test_text_that_is_no_caption_is_refused(content, paint, tmp_path):
    paint("a.png").with_suffix(".txt").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.txt is"):
        ImageFolder.open(tmp_path)


def test_links_to_folders_are_followed_but_not_in_circles(paint, tmp_path):
    paint("elsewhere/a.png"), paint("data/dog/b.png")
    os.symlink(tmp_path / "elsewhere", tmp_path / "data" / "cat")
    os.symlink(tmp_path / "data", tmp_path / "data" / "dog" / "again")
    data = ImageFolder.open(tmp_path / "data")
    assert (data.classes, len(data)) == (("cat", "dog"), 2)


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"'.*nowhere' does not exist.*Give an existing one"):
        ImageFolder.open(tmp_path / "nowhere")


def test_file_in_place_of_a_folder_is_refused(paint):
    with pytest.raises(DataError, match="is a file, but a folder of images is needed"):
        ImageFolder.open(paint("a.png"))


def test_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"No image lies in .*it is empty.*Formats: png.*Accepted:"):
        ImageFolder.open(tmp_path)


def test_folder_without_an_image_is_refused_with_what_it_holds(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"No image lies in .*1 other file: .npy \(1\)"):
        ImageFolder.open(tmp_path)


def test_byte_order_mark_is_no_part_of_a_caption_or_a_prompt(paint, tmp_path):
    """What editors on Windows put in front of UTF-8; an encoder would read it as a word."""
    text = paint("a.png").with_suffix(".txt")
    text.write_text("\ufeffa red disc")
    assert ImageFolder.open(tmp_path).captions == ("a red disc",)
    assert Prompts.open(text, 16).texts == ("a red disc",)


def test_images_beside_sub_folders_are_refused(paint, tmp_path):
    paint("a.png"), paint("cat/b.png"), paint("cat/c.png")
    with pytest.raises(DataError, match=r"1 images lie directly in .* and 2 in its sub-folders"):
        ImageFolder.open(tmp_path)


def test_splits_are_not_taken_for_classes(paint, tmp_path):
    paint("train/a.png"), paint("test/b.png")
    with pytest.raises(DataError, match=r"splits \(test, train\), not classes. Give one of them: .*train"):
        ImageFolder.open(tmp_path)


def test_metadata_in_a_sub_folder_are_not_passed_over(paint, tmp_path):
    paint("train/a.png")
    (tmp_path / "train" / "metadata.jsonl").write_text('{"file_name": "a.png"}')
    with pytest.raises(
        DataError, match=r"train/metadata.jsonl lies in a sub-folder.*Give the folder that holds it: .*train"
    ):
        ImageFolder.open(tmp_path)


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.parquet"])
def test_metadata_in_another_format_are_not_passed_over(paint, tmp_path, name: str):
    paint("a.png")
    (tmp_path / name).write_text("")
    with pytest.raises(DataError, match=f"{name} is not read.*only metadata.jsonl is accepted. Convert it"):
        ImageFolder.open(tmp_path)
