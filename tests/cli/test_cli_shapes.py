"""Shapes are trained on, judged by their checker, and asked for by caption, all at toy size."""

import pytest
import torch

from fewstep.cli import training
from fewstep.data import Shapes
from fewstep.evaluate import Judge, features, markdown
from fewstep.jobs.measure import judge_for
from fewstep.store import load_model

CAPTION = "a red circle left of a blue square"


@pytest.fixture
def trained_on_shapes(fewstep, small, tmp_path, monkeypatch):
    """The answer of a short training, and the folder of the model."""
    monkeypatch.setattr(features, "STEPS", 5)  # of the network that judges: nothing here depends on how good it is
    monkeypatch.setattr(training, "open_data", lambda name, size, channels: Shapes(size, count=64))
    out = tmp_path / "run"
    return fewstep("train", "--data", "shapes", "--size", 16, "--out", out, *small), out


@pytest.fixture
def judge(tmp_path, monkeypatch) -> Judge:
    monkeypatch.setattr(features, "STEPS", 5)
    return judge_for(Shapes(count=100), cache=tmp_path)


def test_a_model_of_shapes_is_trained_and_asked_by_caption(fewstep, trained_on_shapes, tmp_path, check_refusal):
    answer, out = trained_on_shapes
    assert answer.code == 0, answer.err
    assert "64 items of 3x16x16, conditions of 74" in answer.out
    model = load_model(out)
    assert model.condition == Shapes().condition
    c = Shapes().checker.asked([CAPTION])
    assert not torch.equal(model.sample([5], c), model.sample([5]))
    answer = fewstep("sample", out, "--label", CAPTION, "--count", 4, "--steps", 2, "--out", tmp_path / "a.png")
    assert answer.code == 0, answer.err
    assert Shapes().checker.words(c)[0] in answer.out
    assert fewstep("sample", out, "--label", 3, "--steps", 2, "--out", tmp_path / "b.png").code == 0
    check_refusal(fewstep("sample", out, "--label", "a rde circle"), "a rde circle", "did you mean 'red'")


def test_accuracy_is_what_the_checker_says(judge: Judge):
    data = Shapes(count=50, seed=1)
    batch = data.batch(range(50))
    about = {"model": "it", "steps": 1, "calls": 1}
    assert judge.floor().accuracy == 1
    assert judge.judge(batch.x0, batch.c, **about).accuracy == 1
    row = judge.judge(batch.x0, batch.c.roll(1, 0), **about)
    assert row.accuracy is not None
    assert row.accuracy < 0.2
    assert row.loudness_error is None
    assert "loudness" not in markdown([judge.floor(), row])
    assert judge.judge(batch.x0, torch.zeros_like(batch.c), **about).accuracy is None


def test_shapes_are_checked(fewstep, check_refusal):
    answer = fewstep("check", "shapes-medium", "--size", 48)
    assert "20,000 colour images of 48x48" in answer.out
    assert "1 to 3 objects of 7 shapes and 8 colours, small and large" in answer.out
    check_refusal(fewstep("check", "shapes-hard", "--size", 16), "size 16", "at least 64")
