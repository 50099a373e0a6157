"""Ctrl-C in the middle of a training: words, an exit code, and a folder that the same command finishes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import fewstep as package
from fewstep.jobs.record import read_log

SRC = Path(package.__file__).parent.parent
SETTINGS = ("steps=96", "looks=24", "batch=8", "judged=16", "learners.student.network.unet.widths=[8, 8]")


def command(out: Path) -> list[str]:
    words = [word for setting in SETTINGS for word in ("--set", setting)]
    return [sys.executable, "-m", "fewstep", "train", "--data", "digits", "--out", str(out), "--quiet", *words]


def heeding() -> None:
    """Do not ignore Ctrl-C, as a process does whose ancestor was started in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1"}


def check_words(err: str, out: Path) -> None:
    assert err.count("\n") == 1
    assert f"give the same command: fewstep train --data digits --out {out}" in err
    assert not (out / "run.json").exists()


def test_interrupted_run_is_continued_by_the_same_command(fewstep, small, tmp_path, monkeypatch):
    out, job = tmp_path / "t", import_module("fewstep.jobs.fit")  # the name in the package is that of the function
    train, words = job.train, ("train", "--data", "digits", "--out", tmp_path / "t", *small)

    def interrupted(*given: Any) -> Iterator[Any]:
        for report in train(*given):
            yield report
            if report.step == 5:
                signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with monkeypatch.context() as patch:
        patch.setattr(job, "train", interrupted)
        answer = fewstep(*words)
    signal.signal(signal.SIGINT, before)
    assert answer.code == 130, answer.err
    check_words(answer.err, out)
    assert "interrupted" in fewstep("check", out).out
    assert fewstep(*words).code == 0
    assert [line["step"] for line in read_log(out) if "student: Denoise" in line] == list(range(12))


@pytest.mark.slow  # the same, in a process of its own
def test_interrupted_process_is_continued_by_the_same_command(fewstep, tmp_path):
    out = tmp_path / "t"
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command(out), env=environment(), preexec_fn=heeding, **pipes)
    while not (out / "best.safetensors").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    check_words(err, out)
    assert "interrupted" in fewstep("check", out).out or "nothing is saved yet" in fewstep("check", out).out
    words = command(out)[3:]
    answer = fewstep(*words)
    assert answer.code == 0, answer.err
    assert (out / "run.json").exists()


@pytest.mark.parametrize("word", ["sample", "evaluate"])
def test_interruption_of_any_command_exits_130(fewstep, student, monkeypatch, word):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fewstep.cli.sampling.model_at", interrupt)
    monkeypatch.setattr("fewstep.cli.measuring.models_at", interrupt)
    answer = fewstep(word, student)
    assert answer.code == 130
    assert (
        answer.err
        == f"fewstep: Stopped. What was saved is kept; to continue, give the same command: fewstep {word} {student}\n"
    )
