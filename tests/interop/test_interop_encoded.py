"""Latents and prompts are those of the pipeline, encoded once, and their images are what is judged."""

from importlib import import_module
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DModel
from PIL import Image
from tiny import built

import fewstep as fs
from fewstep.data.shapes import Shapes
from fewstep.interop import Encoded, Packing, Pipe, open_pipe
from fewstep.jobs.pipelines import encoded


@pytest.fixture(scope="module")
def pipe(folder: Path) -> Pipe:
    return open_pipe(folder)


@pytest.fixture(scope="module")
def data(pipe: Pipe, tmp_path_factory: pytest.TempPathFactory) -> Encoded:
    return Encoded(Shapes(16, count=40), pipe, tmp_path_factory.mktemp("cache"))


def test_packing_gives_back_what_was_packed() -> None:
    parts = {"states": torch.randn(2, 3, 4), "pooled": torch.randn(2, 5)}
    packing = Packing.of(parts)
    rows = packing.pack(parts, first=7)
    assert rows.shape == (2, packing.width)
    assert rows[:, 0].tolist() == [7, 8]
    assert all(part.equal(packing.unpack(rows)[name]) for name, part in parts.items())


def test_packing_refuses_other_shapes() -> None:
    with pytest.raises(fs.DataError, match=r"encoded as \{'a': \(3,\)\}; this model's prompts are \{'a': \(2,\)\}"):
        Packing({"a": (2,)}).pack({"a": torch.zeros(1, 3)})


def test_items_are_latents_and_packed_prompts(data: Encoded, pipe: Pipe) -> None:
    batch, images = data.batch([3, 1]), data.source.batch([3, 1]).x0
    assert batch.x0.equal(pipe.encode(images))
    assert batch.c is not None
    torch.testing.assert_close(batch.c[:, 1:], pipe.conditions(data.source.captions_of([3, 1]))[:, 1:])


def test_pipeline_on_grey_pixels_takes_grey_images(tmp_path: Path) -> None:
    stock = built("unconditional")
    one = {"in_channels": 1, "out_channels": 1, "_use_default_values": []}
    stock.register_modules(unet=UNet2DModel.from_config({**stock.unet.config, **one}))
    stock.save_pretrained(tmp_path / "grey")
    grey = open_pipe(tmp_path / "grey")
    (tmp_path / "images").mkdir()
    Image.new("L", (16, 16), 99).save(tmp_path / "images" / "0.png")
    known = encoded(str(tmp_path / "images"), grey, tmp_path / "cache")
    assert known.batch([0]).x0.shape[1:] == known.shape == (1, 16, 16)
    with pytest.raises(fs.DataError, match="items of 3x16x16, but the pipeline makes images of 1x16x16"):
        Encoded(Shapes(16, count=4), grey, tmp_path)


def test_empty_prompt_is_the_row_of_zeros(pipe: Pipe) -> None:
    model = pipe.model(2, 1.0)
    empty = pipe.prompts([""])
    ours, theirs = model.sample([1], torch.zeros_like(empty)), model.sample([1], empty)
    torch.testing.assert_close(ours, theirs)
    assert not torch.allclose(ours, model.sample([1], pipe.prompts(["a red disc"])))


def test_shards_are_read_and_not_made_again(data: Encoded, pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    before = data.batch([5])
    again = Encoded(data.source, pipe, data._shelf.root.parent.parent)
    monkeypatch.setattr(Pipe, "encode", lambda *_: pytest.fail("encoded twice"))
    assert again.batch([5]).x0.equal(before.x0)


def test_other_data_have_other_shards(data: Encoded, pipe: Pipe, tmp_path: Path) -> None:
    other = Encoded(Shapes(16, count=40, seed=1), pipe, tmp_path)
    assert other.fingerprint() != data.fingerprint() == Encoded(Shapes(16, count=40), pipe, tmp_path).fingerprint()


def test_images_of_another_size_are_refused(pipe: Pipe, tmp_path: Path) -> None:
    with pytest.raises(fs.DataError, match=r"makes images of 3x16x16. Give --size 16"):
        Encoded(Shapes(32, count=8), pipe, tmp_path)


def test_data_without_captions_are_refused(pipe: Pipe, tmp_path: Path) -> None:
    class Bare(Shapes):  # type: ignore[misc]
        captions_of = fs.Data.captions_of

    with pytest.raises(fs.DataError, match="have no captions"):
        Encoded(Bare(16, count=8), pipe, tmp_path).batch([0])


def test_checker_reads_the_decoded_images(data: Encoded) -> None:
    batch, checker = data.batch(range(12)), data.checker
    plain = data.source.checker
    assert batch.c is not None
    assert checker.words(batch.c) == data.captions[:12]
    images = data.pictures(batch.x0)
    asked = data.source.batch(range(12)).c
    assert asked is not None
    assert plain is not None
    assert checker.right(batch.x0, batch.c).tolist() == plain.right(images, asked).tolist()
    assert checker.kind(batch.c).tolist() == plain.kind(asked).tolist()
    assert checker.kind(torch.zeros_like(batch.c)).tolist() == [-1] * 12


class Pooled(torch.nn.Module):
    """A network that judges, of which every answer is that to one image alone; keeps what it is to learn from."""

    def __init__(self, seen: torch.Tensor) -> None:
        super().__init__()
        self.trunk, self.seen = torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.Flatten()), seen.clone()


def test_judge_decodes_in_parts_to_the_same_bits(
    data: Encoded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the network that judges learns from, remembers and looks at does not depend on the parts, or on the file."""
    batch, sizes, pictures, made = data.batch(range(20)), list[int](), Encoded.pictures, list[Pooled]()
    monkeypatch.setattr("fewstep.interop.pipe.AT_ONCE", 4)
    measure = import_module("fewstep.jobs.measure")
    monkeypatch.setattr(measure, "cached_classifier", lambda seen, *_: made.append(Pooled(seen)) or made[-1])
    monkeypatch.setattr(Encoded, "pictures", lambda self, x: sizes.append(len(x)) or pictures(self, x))
    found = []
    for part, most in ((512, 1 << 30), (8, 0)):
        monkeypatch.setattr("fewstep.evaluate.parts.PART", part)
        monkeypatch.setattr("fewstep.evaluate.parts.MOST", most)
        sizes.clear()
        judge = fs.judge_for(data, cache=tmp_path)
        row = judge.judge(0.9 * batch.x0, batch.c, model="m", steps=1, calls=1)
        found.append((judge.features, judge.described(0.9 * batch.x0), row))
        assert max(sizes) == min(part, 40)
    (features, seen, row), (others, again, other) = found
    assert made[0].seen.equal(made[1].seen)
    assert made[0].seen.shape == (40, 3, 16, 16)
    assert features.equal(others)
    assert seen.equal(again)
    assert row == other


def test_features_of_ones_own_need_no_classifier(data: Encoded, tmp_path: Path) -> None:
    own = torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.Flatten())
    judge = fs.judge_for(data, own, tmp_path / "cache")
    assert judge.features.equal(own(data.pictures(data.batch(range(40)).x0)).double())
    assert not (tmp_path / "cache").exists()


def test_prompt_of_a_person_is_asked_for(data: Encoded, pipe: Pipe) -> None:
    row = data.checker.asked(["a red disc"])
    assert row[0, 1:].equal(pipe.prompts(["a red disc"])[0, 1:])
    assert data.checker.words(row) == ["a prompt of yours"]


def test_too_long_prompts_are_said(data: Encoded) -> None:
    assert "prompts are longer than the 12 tokens that CLIP reads" in data.describe()["prompts"]


def test_prompts_alone_get_the_images_of_the_teacher(pipe: Pipe, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("a red disc\n\na blue ring\na red disc\n")
    source = fs.open_data(str(tmp_path / "words.txt"), 16)
    teacher = pipe.model(2, 3.0)
    data = Encoded(source, pipe, tmp_path, teacher)
    batch = data.batch([2, 1])
    assert (len(data), data.captions) == (3, ["a red disc", "a blue ring", "a red disc"])
    torch.testing.assert_close(batch.x0, teacher.sample([2, 1], batch.c))
    assert Encoded(source, pipe, tmp_path, pipe.model(2, 4.0)).fingerprint() != data.fingerprint()
    with pytest.raises(fs.DataError, match="come without images"):
        source.batch([0])


@pytest.mark.parametrize("content", [b"\n \n", b"\xff\xfe\x00"])
def test_prompts_that_are_none_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_bytes(content)
    with pytest.raises(fs.DataError, match=r"words\.txt"):
        fs.open_data(str(tmp_path / "words.txt"))
