"""``fewstep recipes``, ``cite``, ``check``, ``demo``, ``--version`` and ``--help``."""

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import fewstep as package
from fewstep.endpoints import OnGrid, Origin, Segments
from fewstep.evaluate import Row
from fewstep.jobs import listing
from fewstep.recipes import bibliography, load_recipe, paper_names
from fewstep.terms import Objective
from fewstep.times import Karras

SRC = Path(package.__file__).parent


def test_recipes_lists_every_recipe(fewstep):
    answer = fewstep("recipes")
    assert answer.code == 0, answer.err
    assert [name for name in paper_names() if not re.search(rf"^{re.escape(name)} ", answer.out, re.MULTILINE)] == []


def test_recipes_shows_what_was_measured(fewstep, monkeypatch):
    result = {"frechet": {"1": 0.0812, "4": 0.07, "8": 0.07}, "teacher": 0.1, "seconds": 61.7}
    monkeypatch.setattr("fewstep.jobs.listing._results", lambda: {"digits": {"dmd2": result}})
    lines = {line.name: line for line in listing.listing()}
    assert (lines["dmd2"].best, lines["dmd2"].seconds) == (4, 61.7)
    assert (lines["edm"].best, lines["edm"].frechet, lines["edm"].seconds) == (None, {}, None)
    out = fewstep("recipes").out
    assert re.search(r"^dmd2 +- +teacher, data +4 +0\.0812 +- +0\.0700 +0\.0700 +62 s$", out, re.MULTILINE)
    assert re.search(r"^edm +- +data +- +- +- +- +- +-$", out, re.MULTILINE)


def test_recipes_has_its_columns_and_fits_120_characters(fewstep):
    lines = fewstep("recipes").out.splitlines()
    assert re.split(r"  +", lines[0]) == [
        "recipe",
        "endpoint",
        "needs",
        "best",
        "at 1",
        "at 2",
        "at 4",
        "at 8",
        "training",
    ]
    assert max(map(len, lines)) <= 120


def test_recipes_of_one_family(fewstep, check_refusal):
    out = fewstep("recipes", "--family", "consistency").out
    assert re.search(r"^cd +0 +teacher, data ", out, re.MULTILINE)
    assert not re.search(r"^(edm|kd) ", out, re.MULTILINE)
    check_refusal(fewstep("recipes", "--family", "consistensy"), "'consistensy'", "did you mean 'consistency'")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "teacher, data"),
        ({"data": False}, "teacher"),
        ({"begins": "kd"}, "teacher, data, kd first"),
        ({"tuned_on": ("notes",)}, "teacher, data, notes"),
    ],
)
def test_needs_are_those_of_the_recipe(changes, said):
    assert listing.needs(replace(load_recipe("cd"), **changes)) == said
    assert listing.needs(load_recipe("kd")) == "teacher, pairs"
    assert listing.needs(load_recipe("edm")) == "data"


@pytest.mark.parametrize(
    ("endpoint", "reach"),
    [(Origin(), "0"), (Segments(Karras()), "segment"), (OnGrid(Karras()), "any")],
)
def test_reach_is_that_of_the_endpoint(endpoint, reach):
    recipe = load_recipe("cd")
    spec = recipe.learners["student"]
    ((weight, term),) = spec.objective.parts
    changed = replace(spec, objective=Objective(((weight, replace(term, endpoint=endpoint)),)))
    assert listing.reach_of(replace(recipe, learners={"student": changed})) == reach
    assert listing.reach_of(load_recipe("kd")) == "-"


def test_cite_prints_the_paper_first(fewstep):
    answer = fewstep("cite", "dmd2")
    assert answer.code == 0, answer.err
    assert re.findall(r"eprint += \{([\d.]+)\}", answer.out)[0] == "2405.14867"
    assert "Tianwei Yin" in answer.out


def test_every_paper_that_is_named_anywhere_has_an_entry():
    files = [path for path in SRC.rglob("*") if path.suffix in (".py", ".yaml", ".j2")]
    named = {number for path in files for number in re.findall(r"arXiv[: ]+(\d{4}\.\d{4,5})", path.read_text())}
    assert len(named) > 30
    assert named - set(bibliography()) == set()


def test_entries_are_whole():
    for number, entry in bibliography().items():
        fields = dict(re.findall(r"^  (\w+) += \{(.*)\},$", entry, re.MULTILINE))
        assert set(fields) == {"title", "author", "year", "eprint", "archivePrefix"}, entry
        assert fields["year"] == f"20{number[:2]}"
        assert entry.count("{") == entry.count("}")


@pytest.mark.parametrize("name", paper_names())
def test_check_says_what_a_recipe_does(fewstep, name):
    answer = fewstep("check", name)
    assert answer.code == 0, answer.err
    assert "the recipe can be used" in answer.out
    assert "learner student" in answer.out


def test_check_says_what_data_are(fewstep, images):
    assert "1,797 grey images of 8x8" in fewstep("check", "digits").out
    answer = fewstep("check", images("L"), "--channels", 1)
    assert "32 grey images of 8x8" in answer.out
    assert "2 classes" in answer.out


def test_check_says_how_a_finished_run_went(fewstep, student):
    answer = fewstep("check", student)
    assert answer.code == 0, answer.err
    for word in ("fewstep distill", "dmd2", "digits", "made for 1, 2, 4 steps", "healthy", "as they were saved"):
        assert word in answer.out
    assert re.search(r"verdict +finished", answer.out)


def test_check_says_how_to_continue_an_interrupted_run(fewstep, student, tmp_path):
    run = shutil.copytree(student, tmp_path / "run")
    (run / "run.json").unlink()
    answer = fewstep("check", run)
    assert answer.code == 0, answer.err
    command = json.loads((run / "command.json").read_text())["command"]
    assert f"interrupted; the last checkpoint is of step 8; to continue, give the same command again: {command}" in (
        answer.out
    )


def test_check_refuses_weights_that_were_exchanged(fewstep, check_refusal, student, tmp_path):
    run = shutil.copytree(student, tmp_path / "run")
    shutil.copy(run / "checkpoints" / "step-00000008" / "student.safetensors", run / "model.safetensors")
    check_refusal(fewstep("check", run), run / "model.safetensors", "other weights")


def test_check_refuses_a_damaged_checkpoint(fewstep, check_refusal, student, tmp_path):
    run = shutil.copytree(student, tmp_path / "run")
    (run / "run.json").unlink()
    (run / "checkpoints" / "step-00000008" / "student.safetensors").write_bytes(b"broken")
    check_refusal(fewstep("check", run), "student.safetensors", "cannot be read")


def test_check_tells_the_diagnosis_of_a_run_that_was_stopped(fewstep, check_refusal, teacher, recipe, tmp_path):
    """A learning rate of 1e6 makes samples that a monitor refuses; the same words are told again later."""
    words = ("--set", "learners.student.optimiser.adam.lr=1e6", "--out", tmp_path / "ill", "--quiet")
    check_refusal(fewstep("distill", teacher, "--recipe", recipe, *words), "At step")
    check_refusal(fewstep("check", tmp_path / "ill"), "was stopped by a monitor", "At step", "--out")


def test_demo_shows_its_rows(fewstep, monkeypatch, tmp_path):
    asked = []

    def demo(out: Path, quick: bool = False) -> list[Row]:
        asked.append((out, quick))
        return [Row("student", 1, 1, 0.5, None, None, None, None, None, 0.001, 64)]

    monkeypatch.setattr(sys.modules["fewstep.jobs.demo"], "demo", demo)
    answer = fewstep("demo", "--quick", "--out", tmp_path)
    assert answer.code == 0, answer.err
    assert asked == [(tmp_path, True)]
    assert "student" in answer.out
    assert str(tmp_path / "report.html") in answer.out


@pytest.mark.slow
def test_quick_demo_makes_a_report(fewstep, tmp_path):
    answer = fewstep("demo", "--quick", "--out", tmp_path)
    assert answer.code == 0, answer.err
    assert (tmp_path / "report.html").is_file()


def test_version_names_the_library_under_it(fewstep):
    assert re.fullmatch(r"fewstep \S.* \(python 3\.\d+\.\d+, torch \S+\)\n", fewstep("--version").out)


COMMANDS = ("train", "distill", "sample", "evaluate", "compare", "recipes", "bench", "cite", "check", "demo")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_plain_and_short(fewstep, command):
    answer = fewstep(command, "--help")
    assert answer.code == 0
    assert answer.out.startswith(f"Usage: fewstep {command} ")
    assert len(answer.out.splitlines()) < 30
    assert not re.search(r"[│╭]|\.\.\.$", answer.out.partition("\n")[2], re.MULTILINE)


def test_help_names_every_command(fewstep):
    answer = fewstep("--help")
    assert [name for name in COMMANDS if not re.search(rf"^  {name} +\S.*[^.]\.$", answer.out, re.MULTILINE)] == []
