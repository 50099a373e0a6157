"""Opened pipelines sample as stock diffusers does: same backbone calls, same path, same images."""

from typing import Any

import diffusers
import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from tiny import built

from fewstep import RecipeError
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


def test_latents_with_moments_of_each_channel_are_read_as_stock_does() -> None:
    pipe = opened("sdxl")
    pipe.coder.register_to_config(latents_mean=[1.0, -2.0, 3.0, 0.5], latents_std=[2.0, 0.5, 1.0, 3.0])
    model, stock = pipe.model(STEPS, 1.0), pipe.pipeline
    stock.scheduler = stock_scheduler(pipe)
    theirs = stock(
        prompt=PROMPTS, height=SIDE, width=SIDE, num_inference_steps=STEPS, guidance_scale=1.0,
        latents=start(model, [3, 4]), output_type="pt",
    ).images  # fmt: skip
    ours = pipe.decode(model.sample([3, 4], pipe.conditions(PROMPTS)))
    torch.testing.assert_close(ours, theirs * 2 - 1, atol=2e-4, rtol=2e-4)
    raw = pipe.coder.encode(ours).latent_dist.mode()
    mean, deviation = (torch.tensor(pipe.coder.config[f"latents_{name}"])[:, None, None] for name in ("mean", "std"))
    torch.testing.assert_close(pipe.encode(ours), (raw - mean) * pipe.coder.config.scaling_factor / deviation)


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("EDMDPMSolverMultistepScheduler", {}, "EDMDPMSolverMultistepScheduler with no beta_schedule"),
        ("CMStochasticIterativeScheduler", {}, "CMStochasticIterativeScheduler with no beta_schedule"),
        ("EulerDiscreteScheduler", {"timestep_type": "continuous"}, "timestep_type: continuous"),
        ("CogVideoXDDIMScheduler", {}, "snr_shift_scale: 3.0"),
        ("DDIMScheduler", {"rescale_betas_zero_snr": True}, "predicted noise says nothing"),
    ],
)
def test_other_paths_are_refused(kind: str, changes: dict[str, Any], said: str) -> None:
    """Playground's XL has the first of them: taken for a path of DDPM, it drew noise without a word."""
    pipe = opened("sdxl")
    pipe.pipeline.register_modules(scheduler=getattr(diffusers, kind)(**changes))
    with pytest.raises(RecipeError, match=said):
        pipe.model(STEPS)
