"""From a weaker checkpoint: fewer keys, another size, longer prompts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, PixArtAlphaPipeline, PixArtSigmaPipeline, PixArtTransformer2DModel
from tiny import LENGTH, built

import fewstep as fs
from fewstep.data.shapes import Shapes
from fewstep.draws import item_noise
from fewstep.errors import DataError, RecipeError, WeightsError
from fewstep.export.student import Student
from fewstep.interop import Encoded, Pipe, open_pipe
from fewstep.interop.families import FAMILIES
from fewstep.interop.pooled import pooled
from fewstep.model import Model
from fewstep.recipes.assemble import _grown
from fewstep.sampling import FewStep
from fewstep.store import load_model, save_model
from fewstep.tapped import listening
from fewstep.times import Trailing

PROMPT = ["a disc"]
STATED = {"_use_default_values": list[str]()}  # else diffusers drops what replaces a default


def opened(stock: Any, size: tuple[int, int] = (16, 16)) -> Pipe:
    family = next(each for each in FAMILIES if type(stock).__name__ in each.PIPELINES)
    return Pipe(stock, family, "tiny", size)


def with_fewer(pipe: Pipe, **settings: Any) -> Model:
    """Return the model as a learner has it that begins with it and has these settings besides."""
    model = pipe.model(2)
    words = {name: {**given, **settings} for name, given in model.network.items()}
    return replace(model, view=replace(model.view, net=_grown(model.view.net, words)), network=words)


# --- pooled keys


@pytest.mark.parametrize("name", ["pixart", "dit"])
def test_backbone_keeps_its_weights_and_attends_to_fewer_keys(name: str) -> None:
    pipe = opened(built(name))
    plain, fewer = pipe.model(2), with_fewer(pipe, kv_stride=2)
    net = fewer.view.net
    own = set(net.state_dict()) - set(plain.view.net.state_dict())
    assert own == {"pools.0.conv.weight", "pools.0.conv.bias"}
    c = pipe.prompts(PROMPT) if name == "pixart" else "3"
    keys = "backbone.transformer_blocks.0.attn1.to_k"
    with listening(net, [keys, "pools.0"]) as heard:
        found = fewer.sample([1], c)
    assert heard[0].shape[2] == 16
    assert [each.shape[2] for each in heard[1:3]] == [4, 4]
    assert not torch.allclose(found, plain.sample([1], c), atol=1e-4)


def test_states_constant_on_cells_get_full_attention() -> None:
    pipe = opened(built("pixart"))
    net: Any = with_fewer(pipe, kv_stride=2).view.net
    cells = torch.randn(1, 2, 2, 16).repeat_interleave(2, 1).repeat_interleave(2, 2).flatten(1, 2)
    attention = net.backbone.transformer_blocks[0].attn1
    full = attention(cells)
    with pooled(net.backbone, net.family.KEYS, net.pools, torch.zeros(1, 4, 8, 8)):
        torch.testing.assert_close(attention(cells), full, atol=1e-5, rtol=0)
        assert not torch.allclose(attention(cells.flip(2)), full, atol=1e-3)
    assert torch.equal(attention(cells), full)


def test_pipeline_goes_on_learning_with_fewer_keys_and_is_a_teacher_then(tmp_path: Path, cache: Path) -> None:
    built("pixart").save_pretrained(tmp_path / "pixart")
    pipe = open_pipe(tmp_path / "pixart", (16, 16))
    data = Encoded(Shapes(16, count=20), pipe, tmp_path / "encoded")
    brief = ("steps=2", "batch=4", "looks=1", "judged=8")
    known = fs.Options(tmp_path / "stronger", settings=brief, show=False, cache=cache)
    stronger = fs.distill(pipe.model(2, 2.0), data, known, "pixart-sigma")
    net: Any = stronger.view.net
    assert list(net.pools) == ["0"]
    assert all(not torch.equal(net.get_parameter(f"pools.0.conv.{name}"), value) for name, value in (
        ("weight", torch.full((16, 1, 2, 2), 0.25)), ("bias", torch.zeros(16)),
    ))  # fmt: skip
    known = fs.Options(tmp_path / "few", settings=(*brief, "learners.student.lora.rank=2"), show=False, cache=cache)
    few = fs.distill(load_model(tmp_path / "stronger"), data, known, "lcm-lora")
    assert few.sample([1], pipe.prompts(PROMPT), 4).shape == (1, 4, 8, 8)


def test_pools_are_saved_and_loaded_with_the_run(tmp_path: Path) -> None:
    model, c = with_fewer(opened(built("pixart")), kv_stride=2), None
    with torch.no_grad():
        model.view.net.get_parameter("pools.0.conv.weight").mul_(2.0)
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    assert torch.equal(again.view.net.get_parameter("pools.0.conv.weight"), torch.full((16, 1, 2, 2), 0.5))
    assert torch.equal(again.sample([1], c), model.sample([1], c))


def test_what_cannot_be_pooled_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"UNet2DConditionModel \(family sd\) has no self-att.*families pixart, dit"):
        with_fewer(opened(built("sd")), kv_stride=2)
    with pytest.raises(RecipeError, match="3 x 4 tokens do not divide into cells of 2 x 2"):
        with_fewer(opened(built("pixart"), (12, 16)), kv_stride=2).sample([1])


def test_student_with_pools_is_not_exported() -> None:
    pipe = opened(built("pixart"))
    student = replace(with_fewer(pipe, kv_stride=2), sampler=FewStep(Trailing(1.0), (2,)))
    with pytest.raises(WeightsError, match=r"pools keys and values in the layers 0 \(kv_stride\).*Use its run folder"):
        Student.of(student, pipe)


# --- another size


def test_positions_at_another_size_are_those_of_a_model_made_for_it() -> None:
    weak = built("pixart").transformer
    strong = PixArtTransformer2DModel.from_config(
        {**weak.config, **STATED, "sample_size": 16, "interpolation_scale": 2}
    )
    asked = weak.pos_embed(torch.zeros(1, 4, 16, 16)) - weak.pos_embed.proj.bias
    torch.testing.assert_close(asked, strong.pos_embed.pos_embed, atol=1e-6, rtol=0)
    native = strong.pos_embed.pos_embed.unflatten(1, (8, 8))[:, ::2, ::2].flatten(1, 2)
    torch.testing.assert_close(native, weak.pos_embed.pos_embed, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["sigma", "alpha"])
def test_teacher_at_another_size_equals_stock(kind: str) -> None:
    """Not square, and larger than it was made for; alpha at 1024 is told the size of the image too."""
    stock = built("pixart") if kind == "sigma" else alpha()
    size = (16, 32)
    pipe = opened(stock, size)
    model = pipe.model(4, 1.0)
    ours = model.sample([3], pipe.prompts(PROMPT))
    x = item_noise([3], model.shape)[0]
    stock.scheduler = DDIMScheduler.from_config(
        stock.scheduler.config, timestep_spacing="trailing", set_alpha_to_one=True, steps_offset=0
    )
    theirs = stock(
        PROMPT, height=16, width=32, num_inference_steps=4, guidance_scale=1.0, latents=x, output_type="latent",
        **pipe.family.call(stock),
    ).images  # fmt: skip
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=2e-4)
    other = opened(stock, (32, 32))
    assert ("resolution" in other.packing.shapes) == (kind == "alpha")


def alpha() -> PixArtAlphaPipeline:
    stock = built("pixart")
    sized = {"sample_size": 128, "use_additional_conditions": None}  # a third of the width each, besides time
    config = {**stock.transformer.config, **STATED, **sized, "num_attention_heads": 3, "cross_attention_dim": 24}
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        net = PixArtTransformer2DModel.from_config(config).eval().requires_grad_(False)
    found = PixArtAlphaPipeline(stock.tokenizer, stock.text_encoder, stock.vae, net, stock.scheduler)
    found.set_progress_bar_config(disable=True)
    return found


# --- longer prompts


def test_longer_reader_answers_short_prompts_as_before_and_reads_long_ones_whole() -> None:
    short, long = opened(built("pixart")), opened(built("pixart"))
    long.pipeline.tokenizer.model_max_length = LENGTH + 8
    text = "a red disc over it"
    assert short.unread([text]) == "1 of 1 prompts is longer than the 12 tokens that T5 reads"
    assert long.unread([text]) == ""
    images = [pipe.model(2).sample([1], pipe.prompts(PROMPT)) for pipe in (short, long)]
    torch.testing.assert_close(*images, atol=1e-4, rtol=1e-4)
    images = [pipe.model(2).sample([1], pipe.conditions([text])) for pipe in (short, long)]
    assert not torch.allclose(*images, atol=1e-3)
    with pytest.raises(DataError, match=r"this model takes a tensor of shape \(205,\)"):
        short.model(2).sample([1], long.prompts([text]))


def test_alpha_reads_120_tokens_and_its_weights_as_sigma_300() -> None:
    stock = alpha()
    stock.tokenizer.model_max_length = 512
    sigma = PixArtSigmaPipeline(stock.tokenizer, stock.text_encoder, stock.vae, stock.transformer, stock.scheduler)
    family = opened(stock).family
    assert (family.text(stock), family.text(sigma)) == (120, 300)


def test_tokenizer_beyond_the_positions_of_its_encoder_is_refused(tmp_path: Path) -> None:
    stock = built("sd")
    stock.tokenizer.model_max_length = LENGTH + 8
    stock.save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"up to 20 tokens.*positions for 12 only. Set model_max_length.*to 12"):
        open_pipe(tmp_path)
