"""A student with an adapter: trained on a frozen base, told a negative condition, saved and loaded again."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import fewstep as fs
from fewstep.guidance import CFG, Interval

pytestmark = pytest.mark.usefixtures("brief_looks")

STUDENT = ("steps=12", "batch=16", "looks=1", "judged=16", "keep=''")
TOLD = "learners.student.objective.0.consistency"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("adapter")


@pytest.fixture(scope="module")
def student(folder: Path, teacher: fs.Model, cache: Path) -> fs.Model:
    return distilled(teacher, folder / "s", cache)


def distilled(teacher: fs.Model, out: Path, cache: Path, *more: str) -> fs.Model:
    options = fs.Options(out, settings=(*STUDENT, *more), show=False, cache=cache)
    return fs.distill(teacher, fs.Digits(), options, "speedupnet")


def test_the_base_does_not_change_and_the_adapter_does(teacher: fs.Model, student: fs.Model):
    base, own = teacher.view.net.state_dict(), student.view.net.state_dict()
    assert all(torch.equal(value, own[f"body.{key}"]) for key, value in base.items())
    assert own["adapter.embed.table.weight"].any()


def test_a_negative_condition_changes_the_image_within_the_same_calls(student: fs.Model):
    plain = student.sample(range(4), "3")
    against = student.sample(range(4), "3", negative="8")
    assert (plain - against).abs().flatten(1).amax(1).min() > 1e-4
    assert torch.equal(student.sample(range(4), "3", negative=[-1] * 4), plain)
    assert student.calls() == 4
    alone = student.sample([2], "3", negative="8")
    assert torch.allclose(alone, against[2:3], atol=1e-5)


def test_a_saved_adapter_loads_again(folder: Path, student: fs.Model):
    words = json.loads((folder / "s" / "run.json").read_text())["network"]["adapted"]
    assert words["body"]["unet"]["widths"] == [8, 8]
    assert words["taps"]["middle"] == 8
    again = fs.load_model(folder / "s")
    assert torch.equal(again.sample(range(3), "3", negative=8), student.sample(range(3), "3", negative=8))


def test_a_model_that_takes_no_negative_condition_refuses_it(teacher: fs.Model):
    with pytest.raises(fs.DataError, match="nothing here takes one: neither the network, nor a guidance rule"):
        teacher.sample(range(2), "3", negative="8")
    weak = replace(teacher, sampler=replace(teacher.sampler, guidance=(CFG(1.0), Interval(0.1, 1.0))))
    with pytest.raises(fs.DataError, match="scale other than 1"):
        weak.sample(range(2), "3", negative="8")


def test_a_guided_sampler_takes_a_negative_condition(teacher: fs.Model):
    guided = replace(teacher, sampler=replace(teacher.sampler, guidance=(CFG(3.0),)))
    plain, against = (guided.sample(range(2), "3", 3, negative=each) for each in (None, "8"))
    assert not torch.allclose(plain, against, atol=1e-3)
    assert torch.equal(guided.sample(range(2), "3", 3, negative=[-1, -1]), plain)


def test_an_unknown_negative_condition_is_refused(student: fs.Model):
    with pytest.raises(fs.DataError, match="'x' is no class of this model"):
        student.sample(range(2), "3", negative="x")


def test_negatives_need_a_network_that_takes_them(teacher: fs.Model, tmp_path: Path, cache: Path):
    with pytest.raises(fs.RecipeError, match=r"Consistency tells the learner .student. of .negative.,.*adapter"):
        distilled(teacher, tmp_path, cache, "learners.student.adapter=[]", "learners.student.only=[]")


def test_a_recipe_cannot_write_down_a_negative_condition(teacher: fs.Model, tmp_path: Path, cache: Path):
    with pytest.raises(fs.RecipeError, match=r"cfg\.negative .* cannot be written in a recipe"):
        distilled(teacher, tmp_path, cache, "frozen.teacher.guidance={cfg: {scale: 2, negative: 8}}")


def test_an_adapter_around_a_network_of_ones_own_loads_with_it(cache: Path, teacher: fs.Model, tmp_path: Path):
    own = replace(teacher, network={})
    first = distilled(own, tmp_path, cache, "steps=2")
    again = distilled(own, tmp_path, cache, "steps=2")
    assert torch.equal(again.sample([1], "3", negative="8"), first.sample([1], "3", negative="8"))
    with pytest.raises(fs.WeightsError, match="made in Python"):
        fs.load_model(tmp_path)
