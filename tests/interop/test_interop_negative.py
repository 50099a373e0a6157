"""A rule for the attention in a saved student, and on the command line."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import LENGTH, built, random_lora
from typer.testing import CliRunner

import fewstep as fs
from fewstep.cli import app
from fewstep.guidance import NAG
from fewstep.interop import Encoded, Pipe, open_pipe
from fewstep.interop.bridge import family_named
from fewstep.jobs.models import pipe_of
from fewstep.jobs.suited import computed, fitting
from fewstep.recipes import load_recipe
from fewstep.store import save_model


def test_student_with_a_rule_for_its_attention_takes_negative_prompts(folder: Path, tmp_path: Path) -> None:
    pipe, recipe = open_pipe(folder), load_recipe("lcm-lora", ["sampler.few_step.guidance=[{nag: 4}]"])
    model = replace(pipe.model(), sampler=recipe.sampler)
    save_model(model, tmp_path)
    again, (c, negative) = fs.load_model(tmp_path), pipe.prompts(["a red disc", "a blue ring"])
    changed = again.sample([1], c, 1, negative=negative)
    assert again.sampler.guidance == (NAG(4.0),)
    assert again.calls(1) == 1
    assert changed.equal(model.sample([1], c, 1, negative=negative))
    assert not torch.allclose(changed, again.sample([1], c, 1), atol=1e-3)
    assert again.sample([1], c, 1, negative=c).equal(again.sample([1], c, 1))


def test_command_line_stays_away_from_a_prompt(folder: Path, tmp_path: Path) -> None:
    save_model(open_pipe(folder).model(1, 1.0), tmp_path / "run")
    words = ["sample", str(tmp_path / "run"), "--label", "a red disc", "--out", str(tmp_path / "a.png")]
    pictures = []
    for more in ([], ["--negative", "a blue ring", "--nag", "9"]):
        answer = CliRunner().invoke(app, [*words, *more])
        assert answer.exit_code == 0, answer.output
        assert "1 (1 network calls per image)" in answer.output
        pictures.append((tmp_path / "a.png").read_bytes())
    assert pictures[0] != pictures[1]
    refused = CliRunner().invoke(app, [*words, "--negative", "a blue ring"])
    assert refused.exit_code != 0
    assert "nothing here takes one" in refused.output


# --- an adapter that learns to read a negative prompt


@pytest.fixture(scope="module")
def sped_up(data: Encoded, folder: Path, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> fs.Model:
    """A student of a few updates, on noise levels as the recipe has it."""
    run = tmp_path_factory.mktemp("sped-up") / "run"
    teacher = open_pipe(folder).model(2, 3.0)
    settings = [*computed("speedupnet", [], teacher), "steps=3", "batch=4", "looks=1", "judged=8", "keep=''"]
    moved = fitting(teacher, load_recipe("speedupnet", settings))
    return fs.distill(moved, data, fs.Options(run, settings=settings, show=False, cache=cache), "speedupnet")


def test_adapter_stands_behind_every_residual_block_and_reads_text(sped_up: fs.Model) -> None:
    words = sped_up.network["adapted"]
    assert sped_up.view.net.get_parameter("adapter.learned").shape[0] == LENGTH
    assert len(words["taps"]) == len(sped_up.view.net.get_submodule("adapter.offsets"))
    assert all(".resnets." in tap for tap in words["taps"])
    assert sped_up.view.net.get_parameter("adapter.embed.weight").any()


def test_adapter_is_told_a_negative_prompt_within_the_call(sped_up: fs.Model, folder: Path) -> None:
    pipe = open_pipe(folder)
    c, against = pipe.prompts(["a red disc"]), pipe.prompts(["a blue ring"])
    plain = sped_up.sample([1], c)
    assert (sped_up.sample([1], c, negative=against) - plain).abs().max() > 1e-4
    assert sped_up.sample([1], c, negative=torch.zeros_like(c)).equal(plain)
    assert sped_up.calls() == 4


def test_adapter_goes_onto_another_fine_tune(sped_up: fs.Model, folder: Path, tmp_path: Path) -> None:
    styled = open_pipe(folder, lora=random_lora(folder, tmp_path))
    save_model(sped_up, tmp_path / "run")
    other = fs.load_adapter(tmp_path / "run", styled.model())
    assert pipe_of(other).styles == (str(tmp_path),)
    own, theirs = sped_up.view.net.state_dict(), other.view.net.state_dict()
    assert all(value.equal(theirs[name]) for name, value in own.items() if name.startswith("adapter."))
    fine = styled.model().view.net.state_dict()
    assert all(value.equal(theirs[f"body.{name}"]) for name, value in fine.items())
    c = styled.prompts(["a red disc"])
    assert not torch.allclose(other.sample([1], c), sped_up.sample([1], c), atol=1e-4)
    save_model(styled.model(), tmp_path / "teacher")
    with pytest.raises(fs.WeightsError, match="holds no adapter beside a frozen network"):
        fs.load_adapter(tmp_path / "teacher", styled.model())
    with pytest.raises(fs.WeightsError, match=r"is for another network: \d+ tensors differ"):
        fs.load_adapter(tmp_path / "run", Pipe(built("pixart"), family_named("pixart"), "", (16, 16)).model())
