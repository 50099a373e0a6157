"""How a student will be exported is said before it is trained; tests of every recipe are in test_export_recipes.py."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from tiny import random_lora
from typer.testing import CliRunner

import fewstep as fs
from fewstep.cli import app
from fewstep.export import Outlook
from fewstep.interop import Pipe
from fewstep.jobs.foretell import foretold
from fewstep.jobs.pipelines import Asked, opened, started, starting
from fewstep.jobs.suited import computed, fitting
from fewstep.recipes import load_recipe

Get = Callable[[str], Pipe]
SMALL = "learners.student.lora={rank: 2}"


def said(pipe: Pipe, name: str, settings: Sequence[str] = (), start: fs.Model | None = None) -> Outlook:
    teacher = pipe.model(2, 2.0)
    settings = [*settings, *computed(name, settings, teacher)]
    recipe = load_recipe(name, settings)
    return foretold(recipe, settings, fitting(teacher, recipe), start, pipe)


def test_adapter_is_exported_in_every_form_of_its_family(pipe: Get) -> None:
    assert said(pipe("sd"), "lcm-lora", [SMALL]).words == "as lora, folder or kohya"
    found = said(pipe("sana"), "lcm-lora", [SMALL])
    assert (found.possible, set(found.forms)) == (["lora", "folder"], {"kohya"})
    assert "; not as kohya: Stock diffusers reads kohya's names of Stable Diffusion" in found.words


def test_adapter_that_nobody_will_read_is_exported_as_a_folder(pipe: Get) -> None:
    found = said(pipe("pixart"), "lcm-lora", [SMALL])
    assert found.words == (
        "as folder; not as lora or kohya: PixArtSigmaPipeline of diffusers reads no LoRA files. Export with --form "
        "folder."
    )


def test_numbers_of_steps_that_no_scheduler_follows_are_said(pipe: Get) -> None:
    found = said(pipe("sd"), "lcm-lora", [SMALL, "sampler.few_step.gamma=0.9"])
    assert (found.steps, found.possible) == ((1,), ["lora", "folder", "kohya"])
    assert found.words.startswith("as lora, folder or kohya with --steps 1; in other numbers of steps not: Between two")


@pytest.mark.parametrize(
    ("name", "words"), [("tcd", r"jumps to .* such as lcm-lora"), ("guidance-distill", "ManyStep")]
)
def test_student_for_its_run_folder_alone(pipe: Get, name: str, words: str) -> None:
    found = said(pipe("sd"), name)
    assert (found.possible, found.steps) == ([], ())
    assert found.words.startswith("not possible: ")
    with pytest.raises(fs.WeightsError, match=words):
        raise fs.WeightsError(found.words)


def test_student_of_a_published_adapter_is_exported_on_it(pipe: Get, tmp_path: Path) -> None:
    source = pipe("sd")
    asked = Asked(
        source.place, 32, guidance=2.0, start=random_lora(Path(source.place), tmp_path / "start"), like="dmd2"
    )
    (again, _), start = opened(asked), started(asked)
    assert start is not None
    assert said(again, "lcm-lora", [*starting(start), SMALL], start).possible == ["lora", "folder", "kohya"]


def test_nothing_is_drawn_and_models_are_as_they_were(pipe: Get) -> None:
    source = pipe("sd")
    before, weights = torch.get_rng_state(), {name: each.clone() for name, each in source.backbone.named_parameters()}
    said(source, "lcm-lora", [SMALL])
    assert torch.get_rng_state().equal(before)
    assert all(each.equal(weights[name]) for name, each in source.backbone.named_parameters())


def test_distill_says_it_before_anything_is_encoded(pipe: Get, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fewstep.cli.training.encoded", stop)
    words = ["distill", pipe("sd").place, "--data", "shapes", "--size", 16, "--lora", 2, "--guidance", 2]
    found = CliRunner().invoke(app, [str(word) for word in (*words, "--out", tmp_path / "run")])
    assert found.exit_code == 130
    assert "export  as lora, folder or kohya" in found.output
