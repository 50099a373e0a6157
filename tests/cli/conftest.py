"""The command line in this process, and a tiny teacher and student that it made."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fewstep.cli import app, main

TEACHER = ("steps=60", "batch=32", "looks=1", "judged=16", "learners.student.network.unet.widths=[16, 16]")
TEACHER += ("sampler.many_step.steps=6",)  # every run of a student samples it for a reference
SMALL = ("steps=12", "batch=8", "looks=3", "judged=16", "learners.student.network.unet.widths=[8, 8]")
SMALL += ("sampler.many_step.steps=3",)
STUDENT = ("steps=8", "batch=8", "looks=2", "judged=16", "pairs.count=64", "pairs.steps=3")
RECIPE = """\
title: A recipe to test with
source: arXiv 2405.14867
purpose: a test
frozen:
  teacher: {}
learners:
  student:
    from: teacher
    objective:
      - distribution_matching: {}
    optimiser: {adam: {lr: 1.0e-5}}
  fake_score:
    from: teacher
    objective:
      - denoise: {on: samples}
    optimiser: {adam: {lr: 1.0e-4}}
sampler: {few_step: {schedule: {explicit: [2.5, 0.8, 0.4]}, steps: [1, 2]}}
steps: 4
batch: 8
looks: 2
judged: 16
"""


@dataclass(frozen=True)
class Answer:
    """What a command left: its exit code and what it wrote."""

    code: int
    out: str
    err: str


Command = Callable[..., Answer]


def _words(settings: tuple[str, ...]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)] + ["--quiet"]


@pytest.fixture(scope="module", autouse=True)
def looks(brief_looks: None) -> None:
    """Trainings are brief, but for those of the two below."""


@pytest.fixture
def small() -> list[str]:
    """The words that make a training short, with looks at the steps 4, 8 and 12."""
    return _words(SMALL)


@pytest.fixture
def trained() -> list[str]:
    """The words that make a teacher good enough to have students that the monitors take for healthy."""
    return _words(TEACHER)


@pytest.fixture
def short() -> list[str]:
    """The words that make a distillation short."""
    return _words(STUDENT)


@pytest.fixture
def check_refusal() -> Callable[..., None]:
    """``check_refusal(answer, *words)``: exit code 1 and one paragraph, no traceback, in which these words stand."""

    def check(answer: Answer, *words: object) -> None:
        assert answer.code == 1, answer
        assert answer.err.count("\n") == 1, answer.err
        assert "Traceback" not in answer.err
        assert {str(word) for word in words if str(word) not in answer.err} == set(), answer.err

    return check


@pytest.fixture
def fewstep(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Type a command: ``fewstep("sample", folder, "--steps", 2)``."""

    def run(*words: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["fewstep", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        written = capsys.readouterr()
        return Answer(int(ended.value.code or 0), written.out, written.err)

    return run


def _made(folder: Path, *words: object) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        typed = [*map(str, words), "--out", str(folder)]
        patch.setattr(sys, "argv", ["fewstep", *typed])
        assert CliRunner().invoke(app, typed, catch_exceptions=False).exit_code == 0
    return folder


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a teacher of the digits; do not write into it."""
    return _made(tmp_path_factory.mktemp("made") / "teacher", "train", "--data", "digits", *_words(TEACHER))


@pytest.fixture(scope="session")
def student(teacher: Path) -> Path:
    """The folder of its student, made for 1, 2 and 4 steps; do not write into it."""
    return _made(teacher.parent / "student", "distill", teacher, "--steps", 4, *_words(STUDENT))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe that distils in a moment, as a file."""
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def images(tmp_path: Path) -> Callable[..., Path]:
    """Paint a folder of 8x8 images, 16 each of two classes: ``images(mode="RGB")``."""

    def paint(mode: str = "RGB") -> Path:
        draw = np.random.default_rng(0)
        for i in range(32):
            path = tmp_path / "images" / ("high" if i % 2 else "wide") / f"{i:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            stripes = draw.integers(0, 256, (1, 8, 3) if i % 2 else (8, 1, 3), dtype=np.uint8)
            Image.fromarray(np.broadcast_to(stripes, (8, 8, 3)).copy()).convert(mode).save(path)
        return tmp_path / "images"

    return paint
