"""``fewstep train`` and ``fewstep distill`` from the first word to a finished folder."""

import json
import re

import pytest

from fewstep import load_model
from fewstep.jobs.record import read_log


def test_train_says_what_it_computed_and_makes_a_model(fewstep, small, tmp_path):
    answer = fewstep("train", "--data", "digits", "--out", tmp_path / "t", *small)
    assert answer.code == 0, answer.err
    for word in ("edm", "arXiv 2206.00364", "12 steps of batch 8", "1,797 items of 1x8x8", "12 updates", "done"):
        assert word in answer.out
    assert load_model(tmp_path / "t").classes == tuple("0123456789")


def test_distil_works_with_one_dial(fewstep, teacher, short, tmp_path):
    answer = fewstep("distill", teacher, "--steps", 4, "--out", tmp_path / "s", *short)
    assert answer.code == 0, answer.err
    for word in ("dmd2", "arXiv 2405.14867", str(teacher), "digits", "1, 2, 4 steps", "11 network calls"):
        assert word in answer.out
    sampler = load_model(tmp_path / "s").sampler
    assert sampler.made_for == (1, 2, 4)
    start, middle, end = sampler.schedule.steps(2).tolist()
    assert re.search(rf"times, 2 steps +{start:.4g} > {middle:.4g} > {end:.4g}\n", answer.out)


def test_updates_of_each_learner_are_those_that_happen(fewstep, teacher, recipe, tmp_path):
    words = ("--set", "learners.student.every=3", "--set", "learners.student.after=1", "--set", "steps=8", "--quiet")
    answer = fewstep("distill", teacher, "--recipe", recipe, "--out", tmp_path, *words)
    assert answer.code == 0, answer.err
    assert re.search(r"learner student .* 3 updates \(one turn in 3\)", answer.out)
    assert re.search(r"learner fake_score .* 8 updates \(every step\)", answer.out)
    turns = {line["step"] for line in read_log(tmp_path) if "student: gradient norm" in line}
    assert len(turns) == 3


@pytest.mark.parametrize(("steps", "made_for"), [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (4, (1, 2, 4))])
def test_dial_is_the_powers_of_two_up_to_it(steps, made_for):
    from fewstep.cli.training import few_step_settings
    from fewstep.recipes import load_recipe, read

    assert load_recipe("dmd2", few_step_settings(read("dmd2"), steps)).sampler.made_for == made_for


def test_dial_is_the_default_of_recipes_for_more_than_one_step():
    """Whose best weights are chosen, and whose card is drawn, in that many; not in one, as they would be otherwise."""
    from fewstep.cli.training import few_step_settings
    from fewstep.recipes import load_recipe, read

    assert load_recipe("dmd2-text", few_step_settings(read("dmd2-text"), 4)).sampler.made_for == (4, 1, 2)


@pytest.mark.parametrize("name", ["dmd2", "dmd2-text", "tdm"])
def test_a_student_meets_as_many_calls_in_training_as_the_dial_says(name):
    from fewstep.cli.training import few_step_settings
    from fewstep.recipes import load_recipe, read

    recipe = load_recipe(name, few_step_settings(read(name), 2))
    assert (recipe.rollout.steps, recipe.rollout.schedule) == (2, recipe.sampler.schedule)


def test_the_dial_leaves_a_rollout_from_data_alone():
    from fewstep.cli.training import few_step_settings
    from fewstep.recipes import read

    assert few_step_settings(read("add"), 2) == ["sampler.few_step.steps=[1, 2]"]


def test_without_the_dial_the_recipe_decides(fewstep, teacher, recipe, tmp_path):
    answer = fewstep("distill", teacher, "--recipe", recipe, "--out", tmp_path / "s", "--quiet")
    assert answer.code == 0, answer.err
    assert load_model(tmp_path / "s").sampler.made_for == (1, 2)


def test_same_command_on_a_finished_run_says_so(fewstep, teacher, trained):
    before = (teacher / "model.safetensors").stat().st_mtime_ns
    answer = fewstep("train", "--data", "digits", "--out", teacher, *trained)
    assert answer.code == 0, answer.err
    assert "finished already" in answer.out
    assert (teacher / "model.safetensors").stat().st_mtime_ns == before


def test_student_of_a_folder_finds_its_data_again(fewstep, images, trained, recipe, tmp_path, monkeypatch):
    """The teacher is given a relative path; its student is distilled from another working directory."""
    monkeypatch.chdir(images().parent)
    made = fewstep("train", "--data", "images", "--out", tmp_path / "t", *trained)
    assert made.code == 0, made.err
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    answer = fewstep("distill", tmp_path / "t", "--recipe", recipe, "--out", tmp_path / "s", "--quiet")
    assert answer.code == 0, answer.err
    assert "32 items of 3x8x8, 2 classes" in answer.out
    assert json.loads((tmp_path / "s" / "command.json").read_text())["data"] == str(tmp_path / "images")


def test_a_failed_start_leaves_the_folder_free(fewstep, small, tmp_path):
    odd = fewstep("train", "--data", "digits", "--out", tmp_path, "--set", "learners.student.network.unet.widths=[7]")
    assert odd.code == 1
    assert fewstep("train", "--data", "digits", "--out", tmp_path, *small).code == 0
