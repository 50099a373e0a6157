"""Decoupled learning: spatial weights on images first, then motion with the spatial part fixed (AnimateLCM)."""

import shutil
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor

import fewstep as fs
from fewstep.data import MovingDigits
from fewstep.jobs.listing import needs, teacher_of
from fewstep.model import Model
from fewstep.recipes import assemble, is_given_teacher, load_recipe
from fewstep.training import checkpoints

pytestmark = pytest.mark.usefixtures("brief_looks")

QUICK = ("steps=3", "batch=4", "looks=1", "judged=16")
FEW = "sampler.many_step.steps=3"
LOUD = (*QUICK, "learners.student.optimiser.adam.lr=0.05")  # so that motion speaks after three updates
TEACHER = (*LOUD, FEW)
IMAGE = "learners.student.network.unet.widths=[8, 8]"
MOTION = "motion."


@pytest.fixture(scope="module")
def data() -> MovingDigits:
    return MovingDigits()


FIT = import_module("fewstep.jobs.fit")  # the name in the package is the function


def options(out: Path, cache: Path, first: tuple[str, ...] = QUICK, then: tuple[str, ...] = QUICK) -> fs.Options:
    return fs.Options(out, settings=(*then, *(f"begins.{each}" for each in first)), show=False, cache=cache)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs") / "teacher"


@pytest.fixture(scope="module")
def teacher(folder: Path, data, cache) -> Model:
    return fs.train_teacher(data, options(folder, cache, (*QUICK, IMAGE, FEW), TEACHER), "edm-motion")


@pytest.fixture(scope="module")
def student(tmp_path_factory, teacher, data, cache) -> tuple[Model, Path]:
    out = tmp_path_factory.mktemp("runs") / "student"
    return fs.distill(teacher, data, options(out, cache), "animatelcm"), out


def weights(model: Model) -> dict[str, Tensor]:
    return dict(model.view.net.state_dict())


def example(data: MovingDigits) -> fs.Batch:
    return data.batch(range(64))


def test_the_teacher_of_clips_begins_with_one_of_frames(teacher: Model, data: MovingDigits):
    assert teacher.network["unet"] | {"widths": 0} == {
        "channels": 1, "classes": 10, "widths": 0, "depth": 1, "motion": True,
    }  # fmt: skip
    recipe = load_recipe("edm-motion")
    assert recipe.needs_teacher
    assert not is_given_teacher(recipe)
    assert needs(recipe) == "data, edm-frames first, moving-digits"
    assert teacher_of("moving-digits") == "edm-motion"
    assert teacher.sample(range(2), "3", 2).shape == (2, *data.shape)


def test_teaching_motion_leaves_the_image_weights_alone(teacher: Model, folder: Path):
    image, after = weights(fs.load_model(folder / "begin")), weights(teacher)
    assert all(torch.equal(after[name], weight) for name, weight in image.items())
    assert any(after[name].any() for name in after if name.startswith(MOTION) and "conv2" in name)


def test_the_second_stage_changes_only_motion(student: tuple[Model, Path], teacher: Model):
    made, out = student
    first, after, origin = weights(fs.load_model(out / "begin")), weights(made), weights(teacher)
    assert not any(name.startswith(MOTION) for name in first)
    assert all(torch.equal(after[name], weight) for name, weight in first.items())
    assert any(not torch.equal(weight, origin[name]) for name, weight in first.items())
    moved = [name for name in after if name.startswith(MOTION) and not torch.equal(after[name], origin[name])]
    assert len(moved) > 10
    assert made.sample(range(4), "5", 2).isfinite().all()


def test_the_first_stage_has_a_teacher_without_motion(teacher: Model, data: MovingDigits):
    batch, recipe = example(data), load_recipe("animatelcm-spatial")
    training = assemble(recipe, batch, 10, teacher, 0).training
    images = batch.x0.reshape(-1, 1, 8, 8)
    t = torch.full((len(images),), 0.5, dtype=torch.float64)
    alone = training.frozen["teacher"](images, t, batch.c.repeat_interleave(4)).reshape(batch.x0.shape)
    assert torch.equal(training.frozen["teacher"](batch.x0, t[: len(batch.x0)], batch.c), alone)
    assert not torch.equal(teacher.view(batch.x0, t[: len(batch.x0)], batch.c), alone)


def test_grafted_weights_are_those_of_the_model_given_first(student: tuple[Model, Path], teacher: Model, data):
    first, origin = fs.load_model(student[1] / "begin"), weights(teacher)
    assembly = assemble(load_recipe("animatelcm"), example(data), 10, first, 0, teacher)
    begun = assembly.student.net.state_dict()
    theirs = weights(first) | {name: weight for name, weight in origin.items() if name.startswith(MOTION)}
    assert begun.keys() == theirs.keys()
    assert all(torch.equal(begun[name], weight) for name, weight in theirs.items())
    assert assembly.beside == (teacher.view.net,)


@pytest.mark.slow  # tests/jobs/test_fit.py interrupts one stage, test_stages.py finds a first one finished
def test_an_interrupted_second_stage_ends_in_equal_weights(student, teacher, data, tmp_path, cache, monkeypatch):
    settings = options(tmp_path, cache, then=(*QUICK, "looks=3"))
    with monkeypatch.context() as patch:
        look, seen = FIT._look, []

        def stop(run: object) -> float:
            seen.append(1)
            if len(seen) == 1 + 1 + 1:  # one look of the first stage, then the second one of the second stage
                raise KeyboardInterrupt
            return look(run)

        patch.setattr(FIT, "_look", stop)
        with pytest.raises(KeyboardInterrupt):
            fs.distill(teacher, data, settings, "animatelcm")
    assert (tmp_path / "begin" / "run.json").exists()
    assert checkpoints(tmp_path / "checkpoints")
    resumed = fs.distill(teacher, data, settings, "animatelcm")
    shutil.copytree(tmp_path / "begin", tmp_path / "whole" / "begin")
    whole = fs.distill(teacher, data, replace(settings, out=tmp_path / "whole"), "animatelcm")
    assert all(torch.equal(weight, weights(whole)[name]) for name, weight in weights(resumed).items())


def test_the_result_of_the_first_stage_is_no_origin(student, data, tmp_path, cache):
    first = fs.load_model(student[1] / "begin")
    with pytest.raises(fs.RecipeError, match=r"result of animatelcm-spatial is known\. Give the teacher"):
        fs.distill(first, data, options(tmp_path, cache), "animatelcm")


def test_a_teacher_without_the_part_to_graft_is_refused(student, data, tmp_path, cache):
    images = fs.load_model(student[1] / "begin")
    plain = replace(images, facts=images.facts | {"recipe": "edm-frames"})
    with pytest.raises(fs.RecipeError, match=r"takes 'motion\.0\..*has no such weight\. Give a model that has"):
        fs.distill(plain, data, options(tmp_path, cache), "animatelcm")


def test_a_graft_that_matches_nothing_is_refused(student, teacher, data, tmp_path, cache):
    wrong = options(tmp_path, cache, then=(*QUICK, "learners.student.graft=motoin"))
    with pytest.raises(fs.RecipeError, match="no weight of the network matches graft: 'motoin'; did you mean"):
        fs.distill(teacher, data, wrong, "animatelcm")


def test_a_frozen_network_from_elsewhere_is_refused():
    with pytest.raises(fs.RecipeError, match=r"frozen\.teacher\.from .*'nowhere'; accepted are 'teacher' and 'origin'"):
        load_recipe("animatelcm", ["frozen.teacher.from=nowhere"])


def test_other_settings_of_a_frozen_network_without_words_are_refused(teacher: Model, data: MovingDigits):
    nameless = replace(teacher, network={})
    with pytest.raises(fs.RecipeError, match="made in Python, not named in a recipe"):
        assemble(load_recipe("animatelcm-spatial", ["learners.student.network=null"]), example(data), 10, nameless, 0)
