"""A rule for the attention in a saved student, and on the command line."""

from dataclasses import replace
from pathlib import Path

import torch
from typer.testing import CliRunner

import fewstep as fs
from fewstep.cli import app
from fewstep.guidance import NAG
from fewstep.interop import open_pipe
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
