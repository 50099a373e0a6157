"""WebDataset shards are the images and captions that they hold, unpacked once."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from fewstep import DataError, open_data
from fewstep.data.shards import shards_of, unpacked


def png(shade: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 255 - shade)).save(out, "png")
    return out.getvalue()


def shard(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_samples_are_images_with_captions(tmp_path: Path) -> None:
    said = json.dumps({"caption": "a blue  ring"}).encode()
    shard(tmp_path / "b-000001.tar", {"x/2.png": png(9), "x/2.json": said})
    shard(tmp_path / "b-000000.tar", {"0.v1.png": png(1), "0.txt": b"a red disc\n", "1.png": png(2), "1.txt": b"none"})
    with pytest.raises(DataError, match=r"sample '0' .* has no image, only \.txt, \.v1\.png"):
        open_data(str(tmp_path), cache=tmp_path / "cache")
    shard(tmp_path / "b-000000.tar", {"0.png": png(1), "0.txt": b"a red disc\n", "1.png": png(2), "1.txt": b"none"})
    data = open_data(str(tmp_path), cache=tmp_path / "cache")
    assert sorted(data.captions_of(range(3))) == ["a blue ring", "a red disc", "none"]
    assert data.shape == (3, 8, 8)


def test_classes_are_labels(tmp_path: Path) -> None:
    one = shard(tmp_path / "a.tar", {"0.png": png(1), "0.cls": b"1", "1.png": png(2), "1.cls": b"0"})
    data = open_data(str(one), cache=tmp_path / "cache")
    labels = data.batch([0, 1]).c
    assert labels is not None
    assert sorted(labels.tolist()) == [0, 1]


def test_shards_are_unpacked_once_and_again_when_they_change(tmp_path: Path) -> None:
    one = shard(tmp_path / "a.tar", {"0.png": png(1)})
    first = unpacked((one,), tmp_path / "cache")
    (first / "mark").write_text("")
    assert (unpacked((one,), tmp_path / "cache") / "mark").exists()
    shard(one, {"0.png": png(1), "1.png": png(3)})
    assert unpacked((one,), tmp_path / "cache") != first


def test_broken_shard_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"no tar at all")
    with pytest.raises(DataError, match=r"a\.tar cannot be read as a tar file"):
        open_data(str(tmp_path / "a.tar"), cache=tmp_path / "cache")
    assert not list((tmp_path / "cache" / "unpacked").iterdir())


def test_names_in_a_shard_do_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    one = shard(tmp_path / "a.tar", {"../../../evil.png": png(1)})
    home = unpacked((one,), tmp_path / "cache")
    assert all(path.is_relative_to(home) for path in tmp_path.rglob("*.png"))


def test_folder_of_images_is_no_place_of_shards(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(png(1))
    shard(tmp_path / "a.tar", {"0.png": png(1)})
    assert shards_of(tmp_path) == ()


def test_sample_without_a_caption_is_named_with_its_shard(tmp_path: Path) -> None:
    shard(tmp_path / "a.tar", {"0.png": png(1), "0.txt": b"a red disc", "1.png": png(2), "1.txt": b" \n"})
    shard(tmp_path / "b.tar", {"x/2.png": png(3), "x/2.json": b'{"size": 3}'})
    said = r"2 of 3 samples have no caption .* the sample '1' of .*a\.tar, the sample 'x/2' of .*b\.tar"
    with pytest.raises(DataError, match=said):
        open_data(str(tmp_path), cache=tmp_path / "cache")
    assert not list((tmp_path / "cache" / "unpacked").iterdir())


def test_sample_without_a_class_is_named_with_its_shard(tmp_path: Path) -> None:
    one = shard(tmp_path / "a.tar", {"0.png": png(1), "0.cls": b"1", "1.png": png(2)})
    with pytest.raises(DataError, match=r"1 of 2 samples have no class \(\.cls\).* the sample '1' of .*a\.tar"):
        open_data(str(one), cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("suffix", "content", "said"),
    [
        ("json", b'{"text": ', r"The \.json of the sample '0' of .*a\.tar is broken \("),
        ("json", b"\xff\xfe\x00", r"The \.json of the sample '0' of .*a\.tar is broken \("),
        ("json", b"[1]", r"is '\[1\]'; accepted is an object"),
        ("json", b'{"text": ["a", "b"]}', r"gives 'text' \"\['a', 'b'\]\"; accepted is one text"),
        ("txt", b"caf\xe9", r"The \.txt of the sample '0' of .*a\.tar is no UTF-8 text"),
        ("cls", b"cat", r"The \.cls of the sample '0' of .*a\.tar is 'cat'; accepted is a whole number from 0"),
        ("cls", b"-1", "accepted is a whole number from 0"),
        ("cls", b"", "accepted is a whole number from 0"),
    ],
)
def test_broken_part_of_a_sample_is_refused(tmp_path: Path, suffix: str, content: bytes, said: str) -> None:
    one = shard(tmp_path / "a.tar", {"0.png": png(1), f"0.{suffix}": content})
    with pytest.raises(DataError, match=said):
        open_data(str(one), cache=tmp_path / "cache")


def test_capital_suffixes_and_byte_order_marks_change_nothing(tmp_path: Path) -> None:
    one = shard(tmp_path / "a.tar", {"0.PNG": png(1), "0.TXT": "\ufeffa red disc".encode()})
    assert open_data(str(one), cache=tmp_path / "cache").captions_of([0]) == ["a red disc"]


def test_samples_of_one_name_are_refused(tmp_path: Path) -> None:
    """The later one would take the place of the first."""
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("x/0.png", "x/0.png"):
            member = tarfile.TarInfo(name)
            member.size = len(png(1))
            tar.addfile(member, io.BytesIO(png(1)))
    with pytest.raises(DataError, match=r"a\.tar has two files x/0\.png"):
        open_data(str(tmp_path / "a.tar"), cache=tmp_path / "cache")


def test_shards_without_a_sample_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no sample in .*a\.tar"):
        open_data(str(shard(tmp_path / "a.tar", {})), cache=tmp_path / "cache")


def test_broken_image_is_named_by_its_sample(tmp_path: Path) -> None:
    one = shard(tmp_path / "a.tar", {"x/one.png": png(1)[:20]})
    with pytest.raises(DataError, match=r"-x_one\.png: cannot be decoded"):
        open_data(str(one), cache=tmp_path / "cache")


def test_numbers_in_braces_stand_for_all_shards_between(tmp_path: Path) -> None:
    made = [shard(tmp_path / f"a-{number:03}.tar", {f"{number}.png": png(number)}) for number in (8, 9, 10, 11)]
    assert shards_of(tmp_path / "a-{009..011}.tar") == tuple(made[1:])
    assert len(open_data(str(tmp_path / "a-{008..010}.tar"), cache=tmp_path / "cache")) == 3


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("a-{007..009}.tar", r"stands for 3 shards, but 1 of them are not there: .*a-007\.tar\."),
        ("a-{8..9}.tar", r"2 of them are not there: .*a-8\.tar, .*as many digits"),
        ("a-{009..008}.tar", "it goes backwards"),
    ],
)
def test_numbers_of_shards_that_are_missing_are_refused(tmp_path: Path, pattern: str, said: str) -> None:
    for number in (8, 9):
        shard(tmp_path / f"a-{number:03}.tar", {"0.png": png(1)})
    with pytest.raises(DataError, match=said):
        open_data(str(tmp_path / pattern), cache=tmp_path / "cache")
