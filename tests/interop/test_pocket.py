"""Pocket pipelines: built, saved, opened by stock diffusers; trained part by part, interrupted and continued."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline

from fewstep.data import Shapes
from fewstep.draws import item_noise
from fewstep.errors import RecipeError
from fewstep.evaluate import features
from fewstep.guidance import CFG
from fewstep.interop import open_pipe
from fewstep.interop.bridge import family_named
from fewstep.interop.pipe import Pipe
from fewstep.interop.pocket import (
    POCKETS,
    Begun,
    Pocket,
    autoencode,
    build,
    learn_to_code,
    learn_to_read,
    read,
    standardise,
)
from fewstep.jobs import Options, pocket
from fewstep.jobs.pocket import NETWORK, Effort, Plan, train_pocket
from fewstep.process import Linear

TINY = Pocket(code=(8, 16), words=16, widths=(8, 16), width=48, depth=2)
PROMPTS = ["a red circle", "two blue squares"]
BRIEF = ("steps=4", "batch=8", "looks=2", "judged=16", "sampler.many_step.steps=2")
SIZE = (16, 16)


def pipe_of(family: str, sizes: Pocket = TINY) -> Pipe:
    """An untrained pipeline whose every weight is random: layers that begin at zero would hide a mistake."""
    pipe = Pipe(build(family, sizes), family_named(family), "", SIZE)
    torch.manual_seed(0)
    for parameter in pipe.backbone.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return pipe


def stock(pipeline: Any, pipe: Pipe, x: torch.Tensor, steps: int, scale: float) -> torch.Tensor:
    """What stock diffusers makes of this noise."""
    given: dict[str, Any] = {}
    if isinstance(pipe.path[0], Linear):
        given["sigmas"] = [1 - i / steps for i in range(steps)]
    if pipe.family.name == "flux":
        x = pipeline._pack_latents(x, len(x), 4, 8, 8)
        given |= {"true_cfg_scale": scale, "negative_prompt": [""] * len(x)} if scale != 1 else {}
    else:
        given["guidance_scale"] = scale
    images: torch.Tensor = pipeline(
        prompt=PROMPTS, height=16, width=16, num_inference_steps=steps, latents=x, output_type="pt",
        **given, **pipe.family.call(pipeline),
    ).images  # fmt: skip
    return 2 * images - 1


@pytest.mark.parametrize("family", POCKETS)
def test_saved_pipeline_makes_the_same_images_in_stock_diffusers(family: str, tmp_path: Path) -> None:
    pipe = pipe_of(family)
    standardise(pipe.coder, Shapes(16, count=8))
    scale = 1.0 if family == "flux" else 3.0  # the bridge of Flux has no second pass
    model = pipe.model(2, scale)
    ours = pipe.decode(model.sample([3, 4], pipe.prompts(PROMPTS)))
    pipe.pipeline.save_pretrained(tmp_path)
    again = DiffusionPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    assert type(again) is type(pipe.pipeline)
    theirs = stock(again, pipe, item_noise([3, 4], model.shape)[0], 2, scale)
    assert theirs.std() > 0.05
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=0)


@pytest.mark.parametrize("family", POCKETS)
def test_no_condition_is_the_empty_prompt(family: str, tmp_path: Path) -> None:
    pipe = pipe_of(family)
    pipe.pipeline.save_pretrained(tmp_path)
    net = Begun(str(tmp_path)).eval()
    x, t = torch.randn(2, 4, 8, 8), torch.full((2,), 500.0)
    empty, words = pipe.prompts(["", ""]), pipe.prompts(PROMPTS)
    with torch.no_grad():
        nothing = net(x, t, torch.zeros_like(empty))
        torch.testing.assert_close(nothing, net(x, t, empty))
        assert not torch.allclose(nothing, net(x, t, words), atol=1e-4)


def test_fast_training_is_nearly_exact(tmp_path: Path) -> None:
    pipe_of("sd").pipeline.save_pretrained(tmp_path)
    net = Begun(str(tmp_path))
    x, t, c = torch.randn(2, 4, 8, 8), torch.full((2,), 500.0), torch.zeros(2, net.bridge.packing.width)
    exact = net.eval()(x, t, c)
    assert (net.train()(x, t, c).float() - exact).std() < 0.03 * exact.std()


@pytest.mark.parametrize("setting", ["={perturb: 1.0}", ".perturb=1.0"])
def test_teacher_learns_under_perturbed_text_states(setting: str, tmp_path: Path) -> None:
    """In training only, and not of the empty prompt."""
    pipe = pipe_of("sd")
    pipe.pipeline.save_pretrained(tmp_path)
    about = {"name": "shapes", "size": 16, "fingerprint": ""}
    plan = Plan("sd", Pocket.of(16), about, settings=(f"learners.student.network{setting}",))
    recipes = [each.recipe(str(tmp_path)) for each in (plan, replace(plan, settings=()))]
    nets = [Begun(**recipe.learners["student"].network[NETWORK]) for recipe in recipes]
    x, t, c = torch.randn(2, 4, 8, 8), torch.full((2,), 500.0), pipe.prompts(PROMPTS)
    with torch.no_grad():
        told, plain = (net.train()(x, t, c) for net in nets)
        empty = [net(x, t, torch.zeros_like(c)) for net in nets]
        assert not torch.allclose(told, plain, atol=1e-4)
        assert empty[0].equal(empty[1])
        assert nets[0].eval()(x, t, c).equal(nets[1].eval()(x, t, c))


def test_latents_are_standardised() -> None:
    data = Shapes(16, count=64)
    for family, mean in (("sd", None), ("sd3", 0.0)):
        pipe = pipe_of(family)
        standardise(pipe.coder, data)
        latents = pipe.encode(data.batch(range(64)).x0)
        assert float(latents.square().mean()) == pytest.approx(1, rel=1e-4)
        assert mean is None or float(latents.mean()) == pytest.approx(mean, abs=1e-5)


def test_autoencoder_and_readers_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoencode, "BATCH", 8)
    monkeypatch.setattr(read, "BATCH", 8)
    data, pipe = Shapes(16, count=64), pipe_of("pixart")
    x, before = data.batch(range(32)).x0, {}

    def miss() -> float:
        return float((pipe.decode(pipe.encode(x)) - x).square().mean())

    standardise(pipe.coder, data)
    before["code"] = miss()
    learn_to_code(pipe.coder, data, 20, 0, lambda done, total, note: None)
    assert miss() < 0.9 * before["code"]
    states = pipe.prompts(PROMPTS)
    learn_to_read(pipe, data, 3, 0, lambda done, total, note: None)
    assert not torch.allclose(states, pipe.prompts(PROMPTS), atol=1e-3)
    assert not any(weight.requires_grad for weight in pipe.pipeline.text_encoder.parameters())


@pytest.fixture(scope="module")
def plan() -> Iterator[Plan]:
    """A plan that takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "STEPS", 5)  # of the network that judges: nothing here depends on how good it is
        whole = Plan.of("sd", Shapes(16, count=32), Options("", settings=BRIEF))
        yield replace(whole, pocket=TINY, effort=Effort(2, 2, 4))


def trained(plan: Plan, folder: Path) -> dict[str, Any]:
    return train_pocket(plan, Shapes(16, count=32), Options(folder, show=False, cache=folder.parent))


@pytest.fixture(scope="module")
def made(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of a finished training and what was said of it; do not write into it."""
    folder = tmp_path_factory.mktemp("pockets") / "whole"
    return folder, trained(plan, folder)


def test_interrupted_training_continues_to_the_same_weights(
    plan: Plan, made: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, whole = made
    real, calls = pocket.fit, []

    def interrupted(*given: Any) -> Any:
        calls.append(given)
        raise KeyboardInterrupt

    monkeypatch.setattr(pocket, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained(plan, tmp_path / "cut")
    monkeypatch.setattr(pocket, "fit", real)
    monkeypatch.setattr(pocket, "learn_to_code", interrupted)
    cut = trained(plan, tmp_path / "cut")
    assert len(calls) == 1
    assert cut["right"] == whole["right"]
    ours, theirs = (open_pipe(place, SIZE).backbone.state_dict() for place in (folder, tmp_path / "cut"))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert json.loads((tmp_path / "cut" / "pocket.json").read_text()) == cut
    assert open_pipe(tmp_path / "cut", SIZE).model().sampler.guidance == (CFG(3.0),)


def test_finished_training_is_not_repeated(
    plan: Plan, made: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, first = made
    monkeypatch.setattr(pocket, "fit", None)
    assert trained(plan, folder) == first
    with pytest.raises(RecipeError, match="holds another pipeline: seed is 0 there, 1 here"):
        trained(replace(plan, seed=1), folder)


def test_unknown_family_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"no pocket pipeline of the family 'sdx'.*did you mean 'sd'.*flux, pixart"):
        Plan.of("sdx", Shapes(16, count=32), Options(""))


@pytest.mark.slow
def test_pocket_pipeline_learns_colours(tmp_path: Path) -> None:
    data = Shapes(16, count=2000)
    options = Options(tmp_path, settings=("steps=500", "looks=1", "judged=64"), show=False, cache=tmp_path)
    facts = train_pocket(replace(Plan.of("sd", data, options), effort=Effort(400, 400, 60)), data, options)
    assert facts["captions read right"] > 0.7
    assert facts["reconstructions read right"] > 0.3
    assert facts["right"]["1 object"] > 0.1
