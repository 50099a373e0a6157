"""What our sampling loop costs on a diffusers U-Net, beside the bare calls and beside the stock pipeline.

    python benchmarks/pipelines.py PIPELINE [--items 8] [--rounds 15] [--threads 2]

PIPELINE is a Stable Diffusion folder, such as `fewstep train --data shapes --family sd --out PIPELINE` makes.  Each
round times two ways one after the other, in changing order, and the median of the ratios is printed: (a) ours against
as many bare calls of the U-Net, to be at most 1.02; (b) ours against the stock pipeline with LCMScheduler at as many
steps and items, prompts encoded beforehand and nothing decoded, to be below 1.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import LCMScheduler
from overhead import ratio

from fewstep import FewStep
from fewstep.interop import Pipe, open_pipe
from fewstep.times import Trailing

PROMPT = "a red disc"


def ways(pipe: Pipe, items: int, steps: int) -> tuple[Callable[[], object], Callable[[], object], Callable[[], object]]:
    """Return ours, the bare calls and the stock pipeline, each for ``steps`` steps of ``items`` images."""
    model, sampler = pipe.model(guidance=1.0), FewStep(Trailing(1.0), (4, 1, 2))
    c, seeds = pipe.prompts([PROMPT] * items), range(items)
    states = pipe.packing.unpack(c)["states"]
    x, time = torch.randn(items, *model.shape), torch.tensor(499)
    stock, unet = pipe.pipeline, pipe.backbone
    stock.scheduler = LCMScheduler.from_config(stock.scheduler.config)
    height, width = pipe.size

    @torch.no_grad()
    def bare() -> None:
        for _ in range(steps):
            unet(x, time, states, return_dict=False)

    def whole() -> None:
        stock(
            prompt_embeds=states,
            height=height,
            width=width,
            num_inference_steps=steps,
            guidance_scale=1.0,
            latents=x,
            output_type="latent",
        )

    return lambda: sampler.sample(model.view, seeds, model.shape, c, steps), bare, whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipeline", type=Path)
    parser.add_argument("--items", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    pipe = open_pipe(given.pipeline)
    for steps in (1, 2, 4):
        ours, bare, stock = ways(pipe, given.items, steps)
        for name, other in (("bare calls", bare), ("stock pipeline", stock)):
            least, median, most = ratio(ours, other, given.rounds)
            print(f"{steps} steps, {given.items} items: {median:.3f} x {name} ({least:.3f} to {most:.3f})", flush=True)


if __name__ == "__main__":
    main()
