"""Which runs are the same run."""

import json
from pathlib import Path

import pytest

import fewstep as fs
from fewstep.jobs.record import Record
from fewstep.recipes import load_recipe


def opened(root: Path, *settings: str) -> Record:
    return Record.open(root, load_recipe("edm", settings), "edm", fs.Digits(), 0, None)


@pytest.fixture
def begun(tmp_path) -> Path:
    """A run that was begun, and has made something."""
    opened(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    return tmp_path


def without(root: Path, *path: str | int) -> None:
    """Take a setting out of the plan, as if it had not existed when the run was begun."""
    plan = json.loads((root / "plan.json").read_text())
    inside = plan["settings"]["recipe"]
    for key in path[:-1]:
        inside = inside[key]
    del inside[path[-1]]
    (root / "plan.json").write_text(json.dumps(plan))


PART = ("learners", "student", "learnerspec", "objective", "objective", "parts", 0, 1, "denoise")


@pytest.mark.parametrize("path", [("base",), (*PART, "coupling"), (*PART, "times", "lognormal", "std")])
def test_settings_that_did_not_exist_count_as_their_defaults(begun, path):
    """At the top, in a list, and inside of what is the default itself."""
    without(begun, *path)
    assert "base" in opened(begun).plan["settings"]["recipe"]


@pytest.mark.parametrize("path", [("looks",), (*PART, "drop")])
def test_settings_that_did_not_exist_but_are_chosen_make_another_run(begun, path):
    without(begun, *path)
    with pytest.raises(fs.RecipeError, match=rf"another run: settings.recipe.*{path[-1]} is None there and"):
        opened(begun)


@pytest.mark.parametrize("setting", ["judged=300", "sigma_data=0.6", "learners.student.objective.0.denoise.metric=l1"])
def test_settings_that_are_chosen_now_make_another_run(begun, setting):
    with pytest.raises(fs.RecipeError, match=r"another run: settings\.recipe\."):
        opened(begun, setting)


def test_default_that_was_another_one_makes_another_run(begun):
    """Of a new version with another default: what the run was begun with is in its plan."""
    text = (begun / "plan.json").read_text()
    (begun / "plan.json").write_text(text.replace('"accumulate": 1', '"accumulate": 2'))
    with pytest.raises(fs.RecipeError, match=r"accumulate is 2 there and 1 here"):
        opened(begun)
