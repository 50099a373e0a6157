"""Guiders of Modular Diffusers: one pass, the same image as ours, and a stock guider without a negative prompt."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusion3AutoBlocks, StableDiffusionXLAutoBlocks
from diffusers.guiders import ClassifierFreeGuidance
from diffusers.modular_pipelines.modular_pipeline import BlockState
from tiny import built
from torch import Tensor

from fewstep.guidance import NAG, NASA
from fewstep.interop.guider import NegativeAwayGuidance, NormalizedAttentionGuidance

BLOCKS = {"sd3": StableDiffusion3AutoBlocks, "sdxl": StableDiffusionXLAutoBlocks}


@pytest.fixture(scope="module", params=BLOCKS)
def pipe(request: pytest.FixtureRequest) -> Any:
    made = BLOCKS[request.param]().init_pipeline()
    parts = built(request.param).components
    made.update_components(**{name: part for name, part in parts.items() if name in made.components and part})
    return made


def image(pipe: Any, guider: Any, negative: str = "a blue ring") -> Tensor:
    pipe.update_components(guider=guider)
    state = pipe(
        prompt="a red disc", negative_prompt=negative, height=32, width=32, num_inference_steps=2,
        output_type="latent", generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    found: Tensor = state.values["images"]
    return found


def test_guider_turns_away_in_one_pass(pipe: Any) -> None:
    net = pipe.components.get("unet") or pipe.components["transformer"]
    before, calls = net.attn_processors, list[int]()
    handle = net.register_forward_hook(lambda *_: calls.append(1))
    plain = image(pipe, ClassifierFreeGuidance(1.0))
    changed = image(pipe, NormalizedAttentionGuidance(4.0))
    handle.remove()
    assert len(calls) == 4
    assert (changed - plain).std() > 1e-3
    assert net.attn_processors == before
    assert not image(pipe, NormalizedAttentionGuidance(4.0), "a green square").equal(changed)
    assert not image(pipe, NegativeAwayGuidance(0.3)).equal(changed)


@pytest.mark.parametrize("off", [{"scale": 0.0}, {"enabled": False}, {"stop": 0.0}])
def test_a_guider_that_is_off_is_the_plain_pipeline(pipe: Any, off: dict[str, Any]) -> None:
    assert image(pipe, NormalizedAttentionGuidance(**off)).equal(image(pipe, ClassifierFreeGuidance(1.0)))


def test_guider_away_from_the_prompt_itself_changes_nothing(pipe: Any) -> None:
    plain = image(pipe, ClassifierFreeGuidance(1.0))
    assert image(pipe, NormalizedAttentionGuidance(4.0, alpha=1.0), "a red disc").equal(plain)


def test_guider_is_saved_and_read(tmp_path: Path) -> None:
    NormalizedAttentionGuidance(3.0, tau=2.0).save_pretrained(tmp_path)
    again = NormalizedAttentionGuidance.from_pretrained(tmp_path)
    assert again.rule == NAG(3.0, tau=2.0)
    assert again.new(scale=1.0).rule == NAG(1.0, tau=2.0)
    assert NegativeAwayGuidance(0.5).rule == NASA(0.5)


def test_guider_reads_fields_of_a_block_state() -> None:
    guider = NormalizedAttentionGuidance()
    block = BlockState(one=torch.ones(1, 3, 2), two=torch.zeros(1, 3, 2), size=7)
    fields = {"encoder_hidden_states": ("one", "two"), "time_ids": "size"}
    (batch,) = guider.prepare_inputs_from_block_state(block, fields)
    assert batch.encoder_hidden_states.flatten(1).tolist() == [[1.0] * 6 + [0.0] * 6]
    assert batch.time_ids == 7
    (alone,) = guider.prepare_inputs_from_block_state(block, {"encoder_hidden_states": ("one", "none")})
    assert alone.encoder_hidden_states.equal(block.one)
