"""Pipelines are planned as they are distilled, without data: on latents of noise and empty prompts."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import built, random_lora

import fewstep as fs
from fewstep.cli import planning
from fewstep.cli.planned import parts_words
from fewstep.cli.planning import Machine, Target, print_plan, size_of
from fewstep.cli.training import Asked, Order, best_for, open_given
from fewstep.interop import open_pipe
from fewstep.jobs.ask import Ask, resized
from fewstep.jobs.pipelines import example_of
from fewstep.jobs.plan import plan

TINY = ("steps=40", "batch=2", "judged=8", "at_once=4", "learners.student.every=1", "learners.student.lora.rank=2")


def order(place: Path, *more: str) -> Order:
    return Order(best_for(str(place)), Path(), 0, (*TINY, *more), quiet=True)


@pytest.mark.parametrize("family", ["sd", "dit", "unconditional", "control", "inpaint"])
def test_examples_are_what_the_model_takes(family: str, tmp_path: Path) -> None:
    built(family).save_pretrained(tmp_path)
    pipe = open_pipe(tmp_path)
    model, example = pipe.model(2), example_of(pipe, 3)
    assert example.x0.shape == (3, *model.shape)
    assert (example.c is not None) == model.conditional
    assert model.sample(range(3), example.c).isfinite().all()


def test_an_empty_prompt_is_packed_like_any_other(folder: Path) -> None:
    pipe = open_pipe(folder)
    c = example_of(pipe, 2).c
    assert c is not None
    assert c.equal(pipe.prompts([""]).repeat(2, 1))


def test_shared_backbone_is_held_once(folder: Path) -> None:
    """With the adapter: the teacher's weights, those of the adapter and its average, and the fake score's own ones."""
    given = open_given(order(folder), Asked(str(folder), guidance=3.0), 2, None)
    assert given.pipe is not None
    assert "frozen.teacher.guidance=[{cfg: 3.0}]" in given.order.settings
    assert given.recipe.sampler.made_for == (2, 1)
    ask = Ask(given.recipe, given.teacher, resized(example_of(given.pipe, 4), given.teacher.shape, None), 0)
    student, fake, teacher = ask.held(given.recipe, ask.assembled(given.recipe), cuda=False)
    own = sum(each.nbytes for each in given.pipe.backbone.parameters())
    assert teacher.weights < 0.01 * own  # nothing but what the bridge keeps of its own
    assert student.weights - 4 * student.learning == pytest.approx(own, rel=0.01)
    assert fake.weights > own
    assert student.averages["ema"] == pytest.approx(4 * student.learning, rel=0.03)  # and buffers


def test_networks_that_are_given_and_those_besides_are_held(tmp_path: Path) -> None:
    """Where the recipe has no frozen teacher it is there all the same, and so is a ControlNet."""
    built("control").save_pretrained(tmp_path)
    given = open_given(Order("kd", Path(), 0, (), quiet=True), Asked(str(tmp_path)), None, None)
    assert given.pipe is not None
    example = resized(example_of(given.pipe, 4), given.teacher.shape, given.recipe.pairs)
    steering = {"controlnet": given.pipe.pipeline.controlnet}
    ask = Ask(given.recipe, given.teacher, example, 0, besides=steering)
    held = {each.name: each for each in ask.held(given.recipe, ask.assembled(given.recipe), cuda=False)}
    assert set(held) == {"student", "teacher, as given", "controlnet"}
    assert held["teacher, as given"].weights >= sum(each.nbytes for each in given.pipe.backbone.parameters())
    assert held["controlnet"].parameters == sum(each.numel() for each in steering["controlnet"].parameters())


def test_what_is_not_held_is_said(folder: Path) -> None:
    words = parts_words({"vae": torch.nn.Linear(1000, 1000), "controlnet": torch.nn.Linear(9, 9)})
    assert words["beside"].startswith("vae (4 MB) do not learn")
    assert "encoded once before" in words["not counted"]


@pytest.mark.parametrize(
    ("size", "resolution", "side"), [(None, None, None), (16, None, 16), (None, "32x32", 32), (32, "32x32", 32)]
)
def test_size_is_a_side_or_a_square(size: int | None, resolution: str | None, side: int | None) -> None:
    assert size_of(Asked("x", size), resolution) == side


@pytest.mark.parametrize(("size", "resolution"), [(None, "32x16"), (16, "32x32"), (None, "32")])
def test_other_sizes_are_refused(size: int | None, resolution: str) -> None:
    with pytest.raises(fs.DataError, match="both the same"):
        size_of(Asked("x", size), resolution)


@pytest.mark.parametrize("name", ["style", "start"])
def test_a_lora_at_a_weight_is_planned_as_at_any_other(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks: list[Ask] = []

    def stop(ask: Ask) -> None:
        asks.append(ask)
        raise KeyboardInterrupt

    monkeypatch.setattr(planning, "plan", stop)
    file = Path(f"{random_lora(folder, tmp_path / 'lora')}:0.5")
    given = {name: (file,) if name == "style" else file}
    with pytest.raises(KeyboardInterrupt):
        print_plan(order(folder), Asked(str(folder), guidance=3.0, **given), Target(steps=2), Machine())
    assert (asks[0].origin is None) == (name == "style")


@pytest.mark.slow
def test_a_pipeline_is_planned_without_data(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the recipe for pipelines; where it does not fit, what to change is said."""
    monkeypatch.setattr(planning, "plan", lambda ask: plan(replace(ask, seconds=0.0)))
    target = Target(steps=2, resolution="32x32", rank=4)
    print_plan(order(folder), Asked(str(folder), guidance=3.0), target, Machine(memory=0.05))
    said = capsys.readouterr().out
    assert re.search(r"^recipe +dmd2-text$", said, re.MULTILINE)
    assert re.search(
        r"^beside +vae, text_encoder \(\d+ MB\) do not learn, they are part of the process$", said, re.MULTILINE
    )
    assert re.search(r"^teacher +[\d,]+ +0 +0\.0 ", said, re.MULTILINE)
    assert re.search(r"^calls, student +[\d.]+ per item of an update: student [\d.]+, teacher 2", said, re.MULTILINE)
    assert "it does not fit in 50 MB" in said
    assert re.search(r"^otherwise +\w+ .* take a machine with more memory$", said, re.MULTILINE)
