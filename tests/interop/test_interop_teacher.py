"""Opened pipelines sample as stock diffusers does: same backbone calls, same path, same images."""

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from tiny import built

from fewstep.draws import item_noise
from fewstep.interop.families import FAMILIES
from fewstep.interop.pipe import Pipe
from fewstep.model import Model
from fewstep.process import Linear

PROMPTS = ["a red disc", "two blue rings"]
STEPS, SIDE = 4, 32
NAMES = ("sd", "sd-v", "sdxl", "sd3", "flux", "schnell", "pixart", "sana")


def opened(name: str) -> Pipe:
    pipe = built(name)
    family = next(each for each in FAMILIES if type(pipe).__name__ in each.PIPELINES)
    return Pipe(pipe, family, "tiny", (SIDE, SIDE))


def stock_scheduler(pipe: Pipe) -> Any:
    config = pipe.pipeline.scheduler.config
    if isinstance(pipe.path[0], Linear):
        return FlowMatchEulerDiscreteScheduler(shift=pipe.path[0].shift)
    return DDIMScheduler.from_config(config, timestep_spacing="trailing", set_alpha_to_one=True, steps_offset=0)


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        *(pytest.param(name, 1.0, marks=pytest.mark.slow) for name in NAMES if name != "sd"),
        *(("sd", 1.0), *((name, 3.0) for name in NAMES)),
    ],
)
def test_teacher_equals_stock_pipeline(name: str, scale: float) -> None:
    pipe = opened(name)
    model = pipe.model(STEPS, scale)
    ours = model.sample([3, 4], pipe.conditions(PROMPTS))
    x = start(model, [3, 4])
    stock = pipe.pipeline
    stock.scheduler = stock_scheduler(pipe)
    flow = isinstance(pipe.path[0], Linear)
    given: dict[str, Any] = {"sigmas": [1 - i / STEPS for i in range(STEPS)]} if flow else {}
    packed = name in ("flux", "schnell")
    if packed:
        x = stock._pack_latents(x, 2, 4, SIDE // 2, SIDE // 2)
    theirs = stock(
        prompt=PROMPTS, height=SIDE, width=SIDE, num_inference_steps=STEPS, guidance_scale=scale, latents=x,
        output_type="latent", **given, **pipe.family.call(stock),
    ).images  # fmt: skip
    if packed:
        theirs = stock._unpack_latents(theirs, SIDE, SIDE, 2)
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=2e-4)


def start(model: Model, seeds: list[int]) -> torch.Tensor:
    return item_noise(seeds, model.shape)[0]  # what stock pipelines draw when nobody gives them latents
