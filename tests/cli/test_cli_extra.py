"""Images that a pipeline is told besides the prompt, on the command line."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "interop"))  # tiny.py

from tiny import built

import fewstep as fs
from fewstep.data import Shapes
from fewstep.evaluate import grid
from fewstep.interop import open_pipe
from fewstep.sampling import FewStep
from fewstep.times import Trailing


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student for inpainting, and a mask and a source beside it."""
    place = tmp_path_factory.mktemp("inpaint")
    built("inpaint").save_pretrained(place / "base")
    teacher = open_pipe(place / "base").model()
    fs.save_model(replace(teacher, sampler=FewStep(Trailing(1.0), (2,), 1.0)), place / "run")
    shapes = Shapes(32)
    grid(shapes.images_of("mask", [0]).expand(-1, 3, -1, -1), place / "mask.png", 1, 1)
    grid(shapes.batch([0]).x0, place / "source.png", 1, 1)
    return place


def test_images_are_drawn_into(fewstep, run: Path, tmp_path: Path) -> None:
    words = ["sample", run / "run", "--label", "a red disc", "--count", 2, "--mask", run / "mask.png"]
    answer = fewstep(*words, "--source", run / "source.png", "--out", tmp_path / "a.png")
    assert answer.code == 0, answer.err
    fewstep(*words, "--source", run / "mask.png", "--out", tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


def test_images_that_lack_or_are_not_taken_are_refused(fewstep, check_refusal, run: Path, tmp_path: Path) -> None:
    words = ["sample", run / "run", "--out", tmp_path / "a.png"]
    asked, both = [*words, "--label", "a"], ["--mask", run / "mask.png", "--source", run / "source.png"]
    check_refusal(fewstep(*asked), "no mask and no source", "--mask FILE --source FILE")
    check_refusal(fewstep(*asked, *both, "--control", run / "mask.png"), "--control", "it takes mask, source")
    check_refusal(fewstep(*words, *both), "--mask, --source came without a prompt", "--label")
    check_refusal(fewstep(*asked, *both[:2], "--source", run / "none.png"), "none.png", "given as source")


def test_other_models_take_no_images(fewstep, check_refusal, run: Path, tmp_path: Path) -> None:
    fs.save_model(replace(fs.load_model(run / "run"), facts={}), tmp_path / "other")
    answer = fewstep("sample", tmp_path / "other", "--control", run / "mask.png", "--out", tmp_path / "a.png")
    check_refusal(answer, "--control", "no student of a pipeline")
