"""Pocket pipelines from the command line: trained, said, not repeated; refused in words."""

from dataclasses import replace
from pathlib import Path

import pytest
from diffusers import DiffusionPipeline

from fewstep.cli import pocketing
from fewstep.data import Shapes
from fewstep.evaluate import features
from fewstep.interop.pocket import Pocket
from fewstep.jobs import pocket
from fewstep.jobs.pocket import Effort, Plan

BRIEF = ("steps=2", "batch=8", "looks=1", "judged=16", "sampler.many_step.steps=2")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words that make a training tiny; so are its pipeline and its data."""
    monkeypatch.setattr(features, "STEPS", 5)  # of the network that judges
    monkeypatch.setattr(pocketing, "open_data", lambda name, size, channels: Shapes(16, count=32))
    sizes = Pocket(code=(8, 16), words=16, widths=(8, 16), width=48, depth=2)
    real = Plan.of
    made = lambda *given: replace(real(*given), pocket=sizes, effort=Effort(2, 2, 4))  # noqa: E731
    monkeypatch.setattr(pocket.Plan, "of", made)
    return [word for setting in BRIEF for word in ("--set", setting)] + ["--quiet"]


def test_a_family_is_trained_said_and_not_repeated(fewstep, tiny: list[str], tmp_path: Path) -> None:
    words = ["train", "--data", "shapes", "--family", "pixart", "--out", tmp_path / "run", *tiny]
    answer = fewstep(*words)
    assert answer.code == 0, answer.err
    assert "pixart: PixArtSigmaPipeline" in answer.out
    assert "2 updates" in answer.out
    assert "of captions with 2 objects, one held out, at 4 calls" in answer.out
    assert type(DiffusionPipeline.from_pretrained(tmp_path / "run")).__name__ == "PixArtSigmaPipeline"
    answer = fewstep(*words)
    assert answer.code == 0, answer.err
    assert "this pipeline was finished already" in answer.out


@pytest.mark.slow
def test_a_pipeline_learns_on_and_the_result_is_distilled(fewstep, tiny: list[str], tmp_path: Path) -> None:
    shapes, brief = ["--data", "shapes"], ["--quiet", *tiny[:6]]
    train = ["train", *shapes, "--family", "pixart", "--out", tmp_path / "run", *tiny]
    on = ["distill", tmp_path / "run", *shapes, "--recipe", "pixart-sigma", "--out", tmp_path / "on", *brief]
    few = ["distill", tmp_path / "on", "--recipe", "cd", "--steps", "2", "--out", tmp_path / "few", *brief]
    for words in (train, on, few):
        answer = fewstep(*words)
        assert answer.code == 0, answer.err
    assert "frozen.teacher.guidance=[{cfg: 3.0}]" in answer.out
    answer = fewstep("sample", tmp_path / "few", "--label", "a red disc", "--out", tmp_path / "x.png")
    assert answer.code == 0, answer.err
    check = fewstep("export", tmp_path / "few", tmp_path / "out", "--form", "folder")
    assert "pools keys and values" in check.err


def test_what_makes_no_pocket_pipeline_is_refused(fewstep, check_refusal, tmp_path: Path) -> None:
    train = ["train", "--out", tmp_path, "--data"]
    check_refusal(fewstep(*train, "shapes", "--family", "sdd"), "'sdd'", "did you mean 'sd'", "flux, pixart, sd, sd3")
    check_refusal(fewstep(*train, "digits", "--family", "sd"), "--data digits", "Give --data shapes")
    check_refusal(
        fewstep(*train, "shapes", "--family", "sd", "--recipe", "ect"), "--recipe ect", "Leave one of the two"
    )
