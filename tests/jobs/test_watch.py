"""What can be seen of a run from outside, while it trains and after; and that TensorBoard sees the same."""

import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

import fewstep as fs
from fewstep.errors import MissingExtra, WeightsError
from fewstep.jobs.live import Live, read_life
from fewstep.jobs.record import read_log
from fewstep.jobs.watch import direction, see, sparkline

TINY = (
    *("steps=12", "batch=8", "looks=3", "judged=16"),
    *("learners.student.network.unet.widths=[8, 8]", "sampler.many_step.steps=3"),
)


def options(out: Path, cache: Path, **more: object) -> fs.Options:
    return fs.Options(out, settings=TINY, show=False, cache=cache, **more)


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch):
    """Let a training end after so many reports: by Ctrl-C, or as a killed process would, without a word."""

    job = import_module("fewstep.jobs.fit")  # the name fewstep.jobs.fit is that of the function
    train = job.train

    def at(count: int, error: Callable[[], BaseException] = KeyboardInterrupt) -> None:
        def cut(training, batches, accelerator):
            for i, report in enumerate(train(training, batches, accelerator)):
                if i == count:
                    raise error()
                yield report

        monkeypatch.setattr(job, "train", cut)

    return at


def test_sparkline_shows_shape_and_what_is_not_finite():
    assert sparkline([]) == ""
    assert sparkline([5.0, 5.0, 5.0]) == "▁▁▁"
    assert sparkline([0.0, 7.0]) == "▁█"
    assert sparkline([1.0, float("nan"), 2.0]) == "▁!█"
    assert sparkline([float(i) for i in range(800)], width=8) == "▁▂▃▄▅▆▇█"


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("look: score", "down"),
        ("look: frechet at 4", "down"),
        ("look: wrong at 4", "down"),
        ("pulse: distance between seeds", "1"),
        ("pulse: colour drift", "down"),
        ("look: distance to the teacher", "down"),
        ("fake_score: critic accuracy", "0.5"),
        ("fake_score: critic ratio", "1"),
        ("critic: class critic accuracy", "0.5"),
        ("student: density ratio", "1"),
        ("student: clamped share", "down"),
        ("student: effective size", "1"),
        ("student: DistributionMatching", ""),
        ("student: gradient norm", ""),
    ],
)
def test_direction_is_known_or_nothing_is_said(name, good):
    assert direction(name) == good


def test_interrupted_run_shows_what_came_after_its_checkpoint(cache, tmp_path, stop_at):
    """Lines are there as they come; the resumed run drops those after the checkpoint and writes them again."""
    stop_at(6)
    with pytest.raises(KeyboardInterrupt):
        fs.train_teacher(fs.Digits(), options(tmp_path / "cut", cache))
    seen = see(tmp_path / "cut")
    assert seen.state == "interrupted"
    assert seen.over
    assert (seen.life.step, seen.life.steps) == (6, 12)
    assert list(seen.looks) == [4]
    assert [line["step"] for line in read_log(tmp_path / "cut") if "student: Denoise" in line] == [0, 1, 2, 3, 4, 5]
    stop_at(99)
    for run in ("cut", "whole"):
        fs.train_teacher(fs.Digits(), options(tmp_path / run, cache))
    assert read_log(tmp_path / "cut") == read_log(tmp_path / "whole")
    assert see(tmp_path / "cut").state == "finished"
    assert next(each for each in see(tmp_path / "cut").series if each.name == "look: score").arrow == "↓"


def test_log_of_a_run_without_checkpoint_begins_anew(cache, tmp_path, stop_at):
    stop_at(2)
    with pytest.raises(KeyboardInterrupt):
        fs.train_teacher(fs.Digits(), options(tmp_path, cache))
    assert len(read_log(tmp_path)) == 2
    stop_at(1)
    with pytest.raises(KeyboardInterrupt):
        fs.train_teacher(fs.Digits(), options(tmp_path, cache))
    assert [line["step"] for line in read_log(tmp_path)] == [0]


def test_line_that_is_not_whole_is_left_out(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 0, "a": 1.0}\n{"step": 1, "a"')
    assert read_log(tmp_path) == [{"step": 0, "a": 1.0}]
    (tmp_path / "log.jsonl").write_text('{"step": 0\n{"step": 1}\n')
    with pytest.raises(WeightsError, match="cannot be read"):
        read_log(tmp_path)


def test_sick_run_shows_its_diagnosis(cache, tmp_path, stop_at):
    stop_at(6, lambda: fs.UnhealthyTraining("At step 6 all is lost."))
    with pytest.raises(fs.UnhealthyTraining):
        fs.train_teacher(fs.Digits(), options(tmp_path, cache))
    seen = see(tmp_path)
    assert seen.state == "stopped by a monitor"
    assert seen.diagnosis.startswith("At step 6 all is lost. The last healthy checkpoint is in")


def test_run_that_lives_is_told_from_a_silent_one(tmp_path):
    (tmp_path / "plan.json").write_text("{}")
    assert see(tmp_path).state == "not training yet"
    live = Live(tmp_path, steps=100, first=20)
    live.sign(30, 5.0)
    live.sign(31, 5.1)  # too soon to be written
    life = read_life(tmp_path)
    assert (life.step, life.seconds, life.ended) == (30, 5.0, False)
    assert life.left == pytest.approx(70 / life.rate)
    assert see(tmp_path).state == "training"
    words = json.loads((tmp_path / "live.json").read_text())
    (tmp_path / "live.json").write_text(json.dumps(words | {"stamp": time.time() - 3600}))
    assert see(tmp_path).state == "interrupted, or silent for long"


def test_conditions_are_apart_whatever_they_are_called(tmp_path):
    """A condition may have " of " in its name, and a number that is of no condition too."""
    (tmp_path / "plan.json").write_text("{}")
    seen = {"score": 1.5, "share of heads": 0.5, "distance between seeds of a bag of tea": 0.25}
    line = {"step": 4, **{f"look: {name}": value for name, value in seen.items()}}
    (tmp_path / "log.jsonl").write_text(json.dumps(line) + "\n")
    found = see(tmp_path)
    assert found.looks == {4: {"score": 1.5, "share of heads": 0.5}}
    assert found.conditions == {4: {"a bag of tea": 0.25}}
    assert [each.name for each in found.series] == ["look: score", "look: share of heads"]


def test_first_stage_is_seen_while_there_is_nothing_else(tmp_path):
    (tmp_path / "begin").mkdir()
    (tmp_path / "begin" / "plan.json").write_text("{}")
    assert see(tmp_path).name == "begin"


def test_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="holds no run"):
        see(tmp_path)


def test_tensorboard_has_the_numbers_of_the_log(cache, tmp_path, stop_at):
    """After an interruption too: what the resumed run drops is not seen."""
    stop_at(6)
    with pytest.raises(KeyboardInterrupt):
        fs.train_teacher(fs.Digits(), options(tmp_path, cache, tensorboard=True))
    stop_at(99)
    fs.train_teacher(fs.Digits(), options(tmp_path, cache, tensorboard=True))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    wanted: dict[str, list[tuple[int, float]]] = {}
    for line in read_log(tmp_path):
        for name, value in line.items():
            if name != "step":
                wanted.setdefault(name.replace(": ", "/", 1), []).append((line["step"], value))
    found = {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert set(found) == set(wanted)
    assert {"student/Denoise", "look/score", "pulse/deviation"} <= set(found)
    for tag, points in wanted.items():
        assert [step for step, _ in found[tag]] == [step for step, _ in points]
        assert [value for _, value in found[tag]] == pytest.approx([value for _, value in points], rel=1e-6)


def test_missing_tensorboard_is_named_before_anything_happens(cache, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtra, match=r"pip install 'fewstep\[tensorboard\]'"):
        fs.train_teacher(fs.Digits(), options(tmp_path, cache, tensorboard=True))
    assert not (tmp_path / "log.jsonl").exists()
