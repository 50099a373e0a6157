"""``fewstep evaluate``, ``compare`` and ``bench``: rows, files, and which rows are used again."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import fewstep as fs
from fewstep.evaluate import read_rows
from fewstep.evaluate.results import Result
from fewstep.jobs.bench import Bench, Outcome


@pytest.fixture
def models(teacher: Path, student: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Copies of both folders that may be written into."""
    return shutil.copytree(teacher, tmp_path / "teacher"), shutil.copytree(student, tmp_path / "student")


def test_evaluate_writes_floor_other_and_model(fewstep, models):
    teacher, student = models
    answer = fewstep("evaluate", student, "--against", teacher, "--samples", 32, "--quiet")
    assert answer.code == 0, answer.err
    assert "real data (floor)" in answer.out
    rows = read_rows(student / "evaluation.json")
    assert [(row.model, row.steps) for row in rows] == [
        ("real", None),
        ("teacher", 6),
        ("student", 1),
        ("student", 2),
        ("student", 4),
    ]
    assert {row.samples for row in rows[1:]} == {32}
    assert not (teacher / "evaluation.json").exists()


def test_evaluate_takes_steps_and_features(fewstep, models, tmp_path, monkeypatch):
    (tmp_path / "my_features.py").write_text("from torch.nn import Flatten\nnet = Flatten()\n")
    monkeypatch.chdir(tmp_path)
    words = ("--steps", 2, "--samples", 16, "--features", "my_features:net", "--quiet")
    assert fewstep("evaluate", models[1], *words).code == 0
    rows = read_rows(models[1] / "evaluation.json")
    assert [row.steps for row in rows] == [None, 2]


@pytest.mark.parametrize("name", ["no_such_module:net", "math:no_such_name", "math", "math:pi", "math:sin"])
def test_features_that_are_none_are_refused(fewstep, check_refusal, student, name):
    check_refusal(fewstep("evaluate", student, "--features", name), name, "torch.nn.Module")


def test_compare_judges_and_writes_table_and_pictures(fewstep, models, tmp_path):
    answer = fewstep("compare", *models, "--samples", 16, "--out", tmp_path / "c", "--quiet")
    assert answer.code == 0, answer.err
    files = {path.name for path in (tmp_path / "c").iterdir()}
    assert files == {"table.md", "strip.png", "curve.png", "results.json", "report.html"}
    assert (tmp_path / "c" / "table.md").read_text().count("\n| student ") == 3


def test_compare_says_above_each_column_what_was_asked_for_and_goes_from_the_fewest_calls_up(
    fewstep, student, tmp_path, monkeypatch
):
    model, drawn = fs.load_model(student), []
    fs.save_model(replace(model, sampler=replace(model.sampler, steps=(4, 1, 2))), tmp_path / "s")

    def draw(rows, path, heads):
        drawn.append(([row.title for row in rows], heads))
        path.write_bytes(b"")

    monkeypatch.setattr("fewstep.jobs.compare.strip", draw)
    monkeypatch.setattr("fewstep.jobs.compare.write_report", lambda path, report: None)
    words = ("--data", "digits", "--samples", 16, "--out", tmp_path / "c", "--quiet")
    answer = fewstep("compare", tmp_path / "s", *words)
    assert answer.code == 0, answer.err
    assert drawn == [(["s, 1 step", "s, 2 steps", "s, 4 steps"], [*map(str, range(10)), "0", "1"])]


def test_compare_uses_rows_that_were_measured_alike(fewstep, models, tmp_path):
    for model in models:
        assert fewstep("evaluate", model, "--samples", 16, "--quiet").code == 0
    assert fewstep("compare", *models, "--out", tmp_path / "c", "--quiet").code == 0
    stored = [row for model in models for row in read_rows(model / "evaluation.json")[1:]]
    assert read_rows(tmp_path / "c" / "results.json")[1:] == stored


def test_compare_names_folders_that_end_alike_in_full(fewstep, models, tmp_path):
    other = shutil.copytree(models[1], tmp_path / "b" / "student")
    answer = fewstep("compare", models[1], other, "--samples", 16, "--out", tmp_path / "c", "--quiet")
    assert answer.code == 0, answer.err
    assert {row.model for row in read_rows(tmp_path / "c" / "results.json")} == {"real", str(models[1]), str(other)}


def test_compare_refuses_the_same_folder_twice(fewstep, check_refusal, student, tmp_path):
    check_refusal(fewstep("compare", student, student, "--out", tmp_path), "twice", str(student))


def test_a_scale_that_nobody_takes_is_refused(fewstep, check_refusal, teacher, student, tmp_path):
    for words in (("evaluate", student), ("compare", teacher, student, "--out", tmp_path), ("sample", student)):
        check_refusal(fewstep(*words, "--guidance", 3), "scale of 3", "told no scale", "such as lcm")


# --- bench


@pytest.fixture
def benched(monkeypatch) -> list[Bench]:
    """What was asked of the bench, which answers with one line and one failure."""
    asked: list[Bench] = []
    line = Result("digits", "cd", 1, 0.1, 0.01, 2.0, 100, 9.0, 3, "abc", "m")
    failures = {"kd, seed 1": "it ran away"}

    def bench(plan: Bench) -> Outcome:
        asked.append(plan)
        return Outcome([line], [plan.docs / "results.md"], {"edm": "the teacher"}, {} if plan.quick else failures)

    monkeypatch.setattr("fewstep.cli.measuring.bench", bench)
    return asked


def test_bench_understands_its_options(fewstep, benched, tmp_path):
    answer = fewstep("bench", "digits", "--recipes", "cd, kd", "--seeds", 2, "--out", tmp_path, "--quick", "--quiet")
    assert answer.code == 0, answer.err
    (plan,) = benched
    assert (plan.data, plan.recipes, plan.seeds, plan.quick, plan.show) == ("digits", ("cd", "kd"), 2, True, False)
    assert (plan.out, plan.docs) == (tmp_path, tmp_path / "docs")
    assert re.search(r"^cd +1 +0\.100 ± 0\.01 +2\.00 +9 +3$", answer.out, re.MULTILINE)
    assert "edm: the teacher" in answer.out
    assert str(tmp_path / "docs" / "results.json") in answer.out


def test_bench_with_a_failure_ends_with_1(fewstep, benched, tmp_path):
    answer = fewstep("bench", "digits", "--out", tmp_path, "--docs", tmp_path / "there")
    assert answer.code == 1
    assert answer.err == "failed: kd, seed 1: it ran away\n"
    assert benched[0].recipes == ("all",)
    assert benched[0].docs == tmp_path / "there"
    assert "cd" in answer.out


def test_bench_refuses_what_it_does_not_know(fewstep, check_refusal, tmp_path):
    out = ("--out", tmp_path, "--quick", "--quiet")
    check_refusal(fewstep("bench", "digits", "--recipes", "cdd", *out), "'cdd'", "did you mean 'cd'", "all")
    check_refusal(fewstep("bench", "digit", *out), "'digit'", "did you mean 'digits'")
    check_refusal(fewstep("bench", "digits", "--seeds", 0, *out), "0 seeds", "1 and more")
    check_refusal(fewstep("bench", "digits", "--recipes", ",", *out), "no recipe", "all")
    assert list(tmp_path.iterdir()) == []
