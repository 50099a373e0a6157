"""``fewstep watch`` and ``fewstep plan``."""

import re

import pytest

from fewstep.cli.planning import shape_of
from fewstep.errors import DataError
from fewstep.jobs.calibrate import PLACES
from fewstep.store import load_model

TRIED = ("--set", "batch=4", "--set", "judged=16", "--set", "steps=40")


@pytest.fixture
def few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try updates at three places of a training, not at eleven: nothing here depends on how sure the hours are."""
    monkeypatch.setattr("fewstep.jobs.calibrate.PLACES", PLACES[:3])


def test_watch_shows_finished_runs(fewstep, teacher, student):
    answer = fewstep("watch", teacher, student, "--once")
    assert answer.code == 0, answer.err
    for run in ("teacher", "student"):
        assert re.search(rf"^{run}  finished  \d+ of \d+ batches \(100%\)", answer.out, re.MULTILINE)
    assert re.search(r"^look: score +↓ +[\d.e+-]+ +[▁▂▃▄▅▆▇█]+", answer.out, re.MULTILINE)
    assert re.search(r"^8 best .* \d \(\d\.\d\d\) *$|^4 best .* \d \(\d\.\d\d\) *$", answer.out, re.MULTILINE)
    assert "distance between seeds of" not in answer.out


def test_watch_ends_by_itself_when_nothing_more_will_come(fewstep, teacher):
    answer = fewstep("watch", teacher)
    assert answer.code == 0
    assert "finished" in answer.out


def test_watch_shows_why_a_run_was_stopped(fewstep, tmp_path):
    (tmp_path / "plan.json").write_text("{}")
    (tmp_path / "illness.txt").write_text("At step 7 it collapsed.\n")
    answer = fewstep("watch", tmp_path, "--once")
    assert "stopped by a monitor" in answer.out
    assert "At step 7 it collapsed." in answer.out


def test_watch_refuses_what_is_no_run(fewstep, check_refusal, tmp_path):
    check_refusal(fewstep("watch", tmp_path, "--once"), "holds no run", str(tmp_path))


def test_train_says_that_tensorboard_is_missing(fewstep, check_refusal, small, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    answer = fewstep("train", "--data", "digits", "--out", tmp_path, "--tensorboard", *small)
    check_refusal(answer, "pip install 'fewstep[tensorboard]'")


@pytest.mark.usefixtures("few_places")
def test_plan_says_memory_calls_and_hours(fewstep, teacher):
    answer = fewstep("plan", teacher, "--recipe", "dmd2", "--steps", 2, *TRIED, "--set", "learners.student.every=1")
    assert answer.code == 0, answer.err
    numbers = sum(p.numel() for p in load_model(teacher).view.net.parameters())
    megabytes = 4 * numbers / 1e6
    assert re.search(rf"^student +{numbers:,} +{numbers:,} +{megabytes:.1f} ", answer.out, re.MULTILINE)
    assert re.search(rf"^teacher +{numbers:,} +0 +{megabytes:.1f} +- +0\.0 +0\.0", answer.out, re.MULTILINE)
    assert re.search(r"^peak memory +[\d,]+ MB .*process.*networks", answer.out, re.MULTILINE)
    assert re.search(r"^calls, fake_score +[\d.]+ per item of an update: .*fake_score 3", answer.out, re.MULTILINE)
    assert re.search(r"^hours +[\d.e-]+ \(updates .*looks .*pulse .*\): 40 batches of 4", answer.out, re.MULTILINE)
    assert "it fits in" in answer.out
    assert "change 1" not in answer.out


@pytest.mark.usefixtures("few_places")
def test_plan_that_does_not_fit_says_what_to_change(fewstep, teacher):
    """A twentieth of a GB holds no process; the batch is not even tried, and devices do not help."""
    answer = fewstep(
        "plan", teacher, "--recipe", "cd", "--memory", 0.05, "--devices", 2, "--set", "batch=64", *TRIED[2:]
    )
    assert answer.code == 0, answer.err
    assert "does not fit in 50 MB" in answer.out
    assert "batches of 4 items were tried; larger ones would not have fitted" in answer.out
    assert re.search(r"change \d +\d+ MB less: --set learners.student.accumulate=2", answer.out)
    assert re.search(r"change \d +\d+ MB less: --set batch=32", answer.out)
    assert "for the exchange of gradients" in answer.out
    assert "--set steps=20" in answer.out


@pytest.mark.usefixtures("few_places")
def test_plan_of_more_pixels_takes_more(fewstep, teacher):
    peaks = []
    for resolution in ("8x8", "32x16"):
        answer = fewstep(
            "plan", teacher, "--recipe", "kd", "--resolution", resolution, *TRIED, "--set", "pairs.steps=2"
        )
        assert answer.code == 0, answer.err
        peaks.append(float(re.search(r"([\d,]+) for (updates|looks|pairs)", answer.out)[1].replace(",", "")))
    assert peaks[1] > 4 * peaks[0] or peaks[1] > peaks[0] + 5


@pytest.mark.parametrize("given", ["8", "0x8", "8x", "axb"])
def test_resolution_is_width_by_height(teacher, given):
    model = load_model(teacher)
    assert shape_of(model, "32x16") == (1, 16, 32)
    with pytest.raises(DataError, match="WIDTHxHEIGHT"):
        shape_of(model, given)


def test_plan_refuses_a_recipe_without_a_teacher(fewstep, check_refusal, teacher):
    check_refusal(fewstep("plan", teacher, "--recipe", "edm"), "learns from data")
