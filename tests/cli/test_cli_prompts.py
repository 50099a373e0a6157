"""Prompts on the command line: those that are not read whole are said, and their pipeline is opened once."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest

sys.path.append(str(Path(__file__).parents[1] / "interop"))  # tiny.py

from tiny import built

import fewstep as fs
from fewstep.interop import open_pipe
from fewstep.sampling import FewStep
from fewstep.times import Trailing

LONG = "a very long prompt"
SAID = "1 of 1 prompts is longer than the 12 tokens that CLIP reads"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline, and a student of it."""
    place = tmp_path_factory.mktemp("prompts")
    built("sd").save_pretrained(place / "base")
    teacher = open_pipe(place / "base").model()
    fs.save_model(replace(teacher, sampler=FewStep(Trailing(1.0), (2,), 1.0)), place / "run")
    return place


@pytest.mark.parametrize("model", ["base", "run"])
def test_pipeline_is_opened_once_and_long_prompts_are_said(
    fewstep, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    opened = []
    for module in ("jobs.models", "jobs.pipelines", "interop.open"):
        monkeypatch.setattr(f"fewstep.{module}.open_pipe", lambda *a, **k: opened.append(a) or open_pipe(*a, **k))
    answer = fewstep("sample", base / model, "--label", LONG, "--steps", 2, "--out", tmp_path / "a.png")
    assert answer.code == 0, answer.err
    assert SAID in answer.out
    assert len(opened) == 1


def test_negative_prompts_are_counted_too(fewstep, base: Path, tmp_path: Path) -> None:
    words = ["sample", base / "run", "--label", "a disc", "--negative", LONG, "--nag", 2, "--out", tmp_path / "a.png"]
    answer = fewstep(*words)
    assert answer.code == 0, answer.err
    assert "1 of 2 prompts is longer" in answer.out


@pytest.mark.parametrize(("negative", "said"), [(LONG, "2 of 3 prompts are longer"), ("0", "1 of 2 prompts is longer")])
def test_without_a_label_the_prompts_of_the_data_and_the_negative_one_are_counted(
    fewstep, base: Path, tmp_path: Path, negative: str, said: str
) -> None:
    """A number is that of an item, which is asked for as well here."""
    run = copytree(base / "run", tmp_path / "run")
    (tmp_path / "words.txt").write_text("a very very long prompt\na disc\n")
    (run / "command.json").write_text(json.dumps({"command": "", "data": str(tmp_path / "words.txt")}))
    words = ["sample", run, "--negative", negative, "--nag", 2, "--count", 2, "--out", tmp_path / "a.png"]
    answer = fewstep(*words)
    assert answer.code == 0, answer.err
    assert said in answer.out


def test_short_prompts_need_no_word(fewstep, base: Path, tmp_path: Path) -> None:
    answer = fewstep("sample", base / "run", "--label", "a disc", "--out", tmp_path / "a.png")
    assert "longer than" not in answer.out


def test_export_says_which_prompts_of_its_proof_are_not_read_whole(fewstep, base: Path, tmp_path: Path) -> None:
    words = ["export", base / "run", tmp_path / "out", "--form", "folder", "--no-verify", "--steps", 2]
    answer = fewstep(*words, "--prompt", LONG)
    assert answer.code == 0, answer.err
    assert SAID in answer.out


def test_evaluate_says_which_prompts_of_the_data_are_not_read_whole(
    fewstep, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fewstep.cli.measuring.judge_for", lambda *_: None)
    monkeypatch.setattr("fewstep.cli.measuring.measure_all", lambda *_: [])
    monkeypatch.setattr("fewstep.cli.measuring._show", lambda *_: None)
    prompts = tmp_path / "prompts.txt"
    prompts.write_text(f"{LONG}\na disc\n")
    answer = fewstep("evaluate", base / "run", "--data", prompts)
    assert answer.code == 0, answer.err
    assert "1 of 2 prompts is longer than the 12 tokens that CLIP reads" in answer.out
