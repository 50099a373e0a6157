"""A pipeline is used where the training is: what encodes and decodes is moved there, in the precision asked for."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny import built

import fewstep as fs
from fewstep.data.shapes import Shapes
from fewstep.interop import Encoded, Pipe, open_pipe
from fewstep.interop.bridge import family_named
from fewstep.jobs import pipelines
from fewstep.jobs.pipelines import Asked, opened, settled

TEXT = ("sd", "sdxl", "sd3", "flux", "pixart", "sana")


def pipe_of(name: str) -> Pipe:
    return Pipe(built(name), family_named(name), "", (32, 32))


def test_what_encodes_and_decodes_goes_to_the_accelerator(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device "meta" stands for one: nothing else here could be asked where it is."""
    monkeypatch.setattr(pipelines, "this_machine", lambda: SimpleNamespace(device=torch.device("meta")))
    ready = open_pipe(folder).model()
    monkeypatch.setattr(Pipe, "model", lambda self, steps, scale: ready)
    pipe, teacher = opened(Asked(str(folder)))
    assert {pipe.pipeline.components[name].device.type for name in ("text_encoder", "vae")} == {"meta"}
    assert {weight.device.type for weight in teacher.view.net.parameters()} == {"meta"}


@pytest.mark.parametrize("name", TEXT)
def test_precision_of_encoders_changes_little_and_the_backbone_nothing(name: str, tmp_path: Path) -> None:
    exact, narrow = pipe_of(name), settled(pipe_of(name), "bfloat16")
    assert narrow.coder.dtype == narrow.pipeline.text_encoder.dtype == torch.bfloat16
    assert narrow.backbone.dtype == torch.float32
    data, other = (Encoded(Shapes(32, count=4), pipe, tmp_path / str(i)) for i, pipe in enumerate((exact, narrow)))
    ours, theirs = data.batch(range(4)), other.batch(range(4))
    for one, two in ((ours.x0, theirs.x0), (ours.c, theirs.c), (data.pictures(ours.x0), other.pictures(ours.x0))):
        assert two.dtype == torch.float32
        assert not one.equal(two)
        assert (one - two).std() < 0.05 * one.std()
    drawn = narrow.model(1).sample([1], theirs.c[:1])
    assert drawn.isfinite().all()


def test_autoencoder_that_float16_is_too_narrow_for_keeps_float32() -> None:
    pipe = settled(pipe_of("sdxl"), "float16")
    assert (pipe.coder.dtype, pipe.pipeline.text_encoder.dtype) == (torch.float32, torch.float16)


def test_unknown_precision_is_refused() -> None:
    with pytest.raises(fs.RecipeError, match=r"no precision 'bf16' of a pipeline; .*bfloat16"):
        settled(pipe_of("sd"), "bf16")
