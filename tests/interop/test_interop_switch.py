"""A prompt that comes first, from the command line, on a pipeline."""

from pathlib import Path

import pytest
import torch

from fewstep.cli.sampling import Request, sample
from fewstep.guidance import PromptSwitch
from fewstep.interop import open_pipe


def test_one_prompt_begins_and_another_goes_on(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sample(folder, Request(1, 2, "a red disc", 4, first="a disc", until=0.5), tmp_path / "a.png", None)
    assert "a disc, for 2 of 4 steps" in capsys.readouterr().out
    assert (tmp_path / "a.png").is_file()
    pipe = open_pipe(folder)
    model, first, then = pipe.model(4), pipe.prompts(["a disc"]), pipe.prompts(["a red disc"])
    mixed = model.under(PromptSwitch(0.5, first)).sample([1], then)
    assert not any(torch.allclose(mixed, model.sample([1], c), atol=1e-4) for c in (first, then))
    assert model.under(PromptSwitch(0.5, first)).calls(4) == model.calls(4)
