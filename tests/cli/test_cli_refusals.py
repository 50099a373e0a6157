"""What goes wrong says what was given, what is accepted and what to do, in one paragraph and without a traceback."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from fewstep import load_model

# --- words that are not understood


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (("train", "--data", "digits", "--out", "x", "--recip", "edm"), "--recipe"),
        (("distill", "x", "--out", "y", "--step", "4"), "--steps"),
        (("sampel", "x"), "sample"),
        (("train", "--data", "digits"), "--out"),
        (("sample", "x", "--count", "none"), "--count"),
    ],
)
def test_misspelt_words_name_the_nearest(fewstep, words, near):
    answer = fewstep(*words)
    assert answer.code == 2
    assert near in answer.err.splitlines()[-1]
    assert "Traceback" not in answer.err


# --- recipes


def test_unknown_recipe_names_the_nearest(fewstep, check_refusal, teacher, tmp_path):
    answer = fewstep("distill", teacher, "--recipe", "dmd3", "--out", tmp_path / "s")
    check_refusal(answer, "'dmd3'", "did you mean 'dmd' or 'dmd2'", ".yaml")


def test_unknown_key_names_file_line_and_nearest(fewstep, check_refusal, teacher, recipe, tmp_path):
    recipe.write_text(recipe.read_text().replace("batch: 8", "bacth: 8"))
    line = 1 + recipe.read_text().splitlines().index("bacth: 8")
    words = ("bacth", f"tiny.yaml:{line}", "did you mean 'batch'", "Known: ")
    check_refusal(fewstep("distill", teacher, "--recipe", recipe, "--out", tmp_path / "s"), *words)
    check_refusal(fewstep("check", recipe), *words)


def test_unknown_setting_names_path_and_nearest(fewstep, check_refusal, tmp_path):
    answer = fewstep("train", "--data", "digits", "--out", tmp_path, "--set", "learners.student.optimizer.adam.lr=1")
    check_refusal(answer, "learners.student.optimizer (edm.yaml:", "'optimiser'")
    assert not list(tmp_path.iterdir())


def test_setting_without_a_value_is_refused(fewstep, check_refusal, tmp_path):
    check_refusal(
        fewstep("train", "--data", "digits", "--out", tmp_path, "--set", "steps"), "--set steps", "path=value"
    )


def test_unknown_network_of_a_term_is_found_before_the_run(fewstep, check_refusal, teacher, recipe, tmp_path):
    recipe.write_text(recipe.read_text().replace("distribution_matching: {}", "distribution_matching: {fake: fak}"))
    words = ("DistributionMatching", "'fak'", "fake_score", "learners")
    check_refusal(fewstep("distill", teacher, "--recipe", recipe, "--out", tmp_path / "s"), *words)
    check_refusal(fewstep("check", recipe), *words)


def test_recipe_for_the_other_command_is_refused(fewstep, check_refusal, teacher, tmp_path):
    trained = fewstep("train", "--data", "digits", "--recipe", "dmd2", "--out", tmp_path / "t")
    check_refusal(trained, "'dmd2'", "fewstep distill", "edm")
    distilled = fewstep("distill", teacher, "--recipe", "edm", "--out", tmp_path / "s")
    check_refusal(distilled, "'edm'", "fewstep train", "dmd2")


# --- steps and labels


def test_more_steps_than_the_schedule_holds(fewstep, check_refusal, teacher, student, recipe, tmp_path):
    known = len(load_model(student).sampler.schedule.times)
    words = ("19 steps were asked for", f"Accepted are 1 to {known} steps", "train with a longer list")
    check_refusal(fewstep("sample", student, "--steps", 19, "--out", tmp_path / "a.png"), *words)
    check_refusal(fewstep("evaluate", student, "--steps", 19, "--quiet"), *words)
    distilled = fewstep("distill", teacher, "--recipe", recipe, "--steps", 4, "--out", tmp_path / "s")
    check_refusal(distilled, "4 steps were asked for", "[2.5, 0.8, 0.4]", "Accepted are 1 to 3 steps")
    assert not (tmp_path / "s").exists()


def test_dial_needs_a_sampler_of_few_steps(fewstep, check_refusal, teacher, tmp_path):
    answer = fewstep("distill", teacher, "--recipe", "edm", "--steps", 4, "--out", tmp_path / "s")
    check_refusal(answer, "--steps 4", "edm.yaml", "few_step", "Leave --steps out")


@pytest.mark.parametrize("label", ["10", "-1", "eight"])
def test_label_outside_the_range(fewstep, check_refusal, student, tmp_path, label):
    answer = fewstep("sample", student, f"--label={label}", "--out", tmp_path / "a.png")
    check_refusal(answer, repr(label), "a label from 0 to 9", "Known: ")


def test_picture_must_be_a_png(fewstep, check_refusal, student, tmp_path):
    check_refusal(fewstep("sample", student, "--out", tmp_path / "a.jpg"), "a.jpg", ".png")


# --- data


def test_missing_data(fewstep, check_refusal, tmp_path):
    check_refusal(fewstep("train", "--data", "digit", "--out", tmp_path), "'digit'", "did you mean 'digits'", "folder")
    check_refusal(fewstep("check", tmp_path / "none"), tmp_path / "none", "Known: ", "a folder that exists")


def test_empty_folder(fewstep, check_refusal, tmp_path):
    (tmp_path / "empty").mkdir()
    answer = fewstep("train", "--data", tmp_path / "empty", "--out", tmp_path / "t")
    check_refusal(answer, tmp_path / "empty", "it is empty", "png, jpg", "Accepted: images directly in the folder")


def test_corrupt_images(fewstep, check_refusal, images, tmp_path):
    folder = images()
    for path in sorted(folder.rglob("*.png"))[:8]:
        path.write_bytes(path.read_bytes()[:60])
    answer = fewstep("train", "--data", folder, "--out", tmp_path / "t")
    check_refusal(answer, "8 of 32 images", "high/01.png", "Repair or remove")


def test_grey_images_where_colour_is_expected(fewstep, check_refusal, images, tmp_path):
    answer = fewstep("train", "--data", images("L"), "--out", tmp_path / "t")
    check_refusal(answer, "All 32 images", "are grey", "colour (channels=3)", "channels=1")


def test_data_of_another_form_than_the_model(fewstep, check_refusal, images, teacher, tmp_path):
    answer = fewstep("distill", teacher, "--data", images("L"), "--out", tmp_path / "s")
    check_refusal(answer, "1x8x8 in 10 classes", "2 classes (high, wide)", "--data")


def test_data_that_nobody_remembers(fewstep, check_refusal, teacher, tmp_path):
    run = shutil.copytree(teacher, tmp_path / "run")
    (run / "command.json").unlink()
    words = (run / "run.json").read_text()
    (run / "run.json").write_text(words.replace('"data": "digits"', '"data": "flowers"'))
    check_refusal(fewstep("evaluate", run), "'flowers'", "does not say where", "--data")
    check_refusal(fewstep("distill", run, "--out", tmp_path / "s"), "'flowers'", "--data")


# --- folders and files


def test_missing_model(fewstep, check_refusal, tmp_path):
    check_refusal(fewstep("sample", tmp_path / "none"), "There is no folder", tmp_path / "none", "--out folder")
    check_refusal(fewstep("distill", tmp_path, "--out", tmp_path / "s"), "holds no model", "fewstep train")


def test_checkpoint_of_another_network(fewstep, check_refusal, student, small, tmp_path):
    assert fewstep("train", "--data", "digits", "--out", tmp_path / "narrow", *small).code == 0
    run = shutil.copytree(student, tmp_path / "run")
    shutil.copy(tmp_path / "narrow" / "model.safetensors", run)
    words = (run / "model.safetensors", "another network", "tensors differ", "run.json")
    check_refusal(fewstep("sample", run, "--out", tmp_path / "a.png"), *words)
    check_refusal(fewstep("check", run), *words)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", "{"),
        ("run.json", '{"format": 1}'),
        ("run.json", '{"format": 9}'),
        ("plan.json", "{"),
        ("command.json", "[]"),
        ("log.jsonl", "x"),
        ("model.safetensors", "x"),
    ],
)
def test_check_refuses_a_damaged_file(fewstep, check_refusal, teacher, tmp_path, name, content):
    run = shutil.copytree(teacher, tmp_path / "run")
    (run / name).write_text(content)
    check_refusal(fewstep("check", run), run / name)


def test_run_with_a_damaged_plan_is_not_continued(fewstep, check_refusal, teacher, trained, tmp_path):
    run = shutil.copytree(teacher, tmp_path / "run")
    (run / "plan.json").write_text("{")
    check_refusal(fewstep("train", "--data", "digits", "--out", run, *trained), run / "plan.json", "--out")


def test_folder_that_holds_another_run(fewstep, check_refusal, teacher, trained):
    answer = fewstep("train", "--data", "digits", "--out", teacher, *trained, "--seed", 5)
    check_refusal(answer, teacher, "another run", "seed is 0 there and 5 here", "--out")


def test_folder_that_was_filled_without_a_plan(fewstep, check_refusal, teacher, trained, tmp_path):
    run = shutil.copytree(teacher, tmp_path / "run")
    (run / "plan.json").unlink()
    check_refusal(fewstep("train", "--data", "digits", "--out", run, *trained), run, "another run")


def test_full_disk_then_the_same_command(fewstep, check_refusal, small, tmp_path, monkeypatch):
    """The second checkpoint does not fit; with room again the same command continues and finishes."""
    out, replace = tmp_path / "t", os.replace

    def full(source: Path, target: Path) -> None:
        if Path(target).name == "step-00000008":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        answer = fewstep("train", "--data", "digits", "--out", out, *small)
    check_refusal(answer, "step-00000008", "No space left on device", "Make room", "same command again")
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-00000004"]
    assert "last checkpoint is of step 4" in fewstep("check", out).out
    assert fewstep("train", "--data", "digits", "--out", out, *small).code == 0


def test_full_disk_where_nothing_catches_it(fewstep, check_refusal, student, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/somewhere")

    monkeypatch.setattr("fewstep.cli.sampling.grid", full)
    check_refusal(
        fewstep("sample", student, "--out", tmp_path / "a.png"), "disk is full", "/tmp/somewhere", "Make room"
    )


def test_folder_that_cannot_be_written(fewstep, check_refusal, student, tmp_path):
    (tmp_path / "file").write_text("")
    answer = fewstep("sample", student, "--out", tmp_path / "file" / "a.png")
    check_refusal(answer, "a.png", "could not be written", "--out")
