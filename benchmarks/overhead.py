"""What fewstep costs beside the bare network: sampling and one training turn, as ratios within one run.

    python benchmarks/overhead.py [--rounds 15] [--threads 2]

Each round times the bare loop and ours one after the other, in changing order; the median of the ratios is printed,
so a machine whose speed drifts does not matter.  Targets: sampling at most 1.05, a training turn at most 1.10.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from accelerate import Accelerator

from fewstep import EDM, Denoiser, FewStep, Learner, Training, train
from fewstep.batch import Batch
from fewstep.networks import UNet
from fewstep.terms import Denoise
from fewstep.times import Explicit
from fewstep.training import Adam, Ema, OneStep

ITEMS, SHAPE = 256, (1, 8, 8)


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def ratio(ours: Callable[[], object], bare: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Return minimum, median and maximum of ours / bare over the rounds, after two to warm up."""
    found = []
    for i in range(rounds + 2):
        first, second = (ours, bare) if i % 2 else (bare, ours)
        a, b = seconds(first), seconds(second)
        found.append(a / b if first is ours else b / a)
    return min(found[2:]), statistics.median(found[2:]), max(found[2:])


def sampling(steps: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return n-step sampling of 256 items by their seeds, and n bare calls of the same network."""
    net = UNet(1, 10).eval().requires_grad_(False)
    view, sampler = Denoiser(net, EDM(sigma_data=0.75)), FewStep(Explicit((2.5, 1.0, 0.5, 0.25)))
    c, seeds = torch.arange(ITEMS) % 10, range(ITEMS)
    x, label = torch.randn(ITEMS, *SHAPE), torch.rand(ITEMS)

    def bare() -> None:
        with torch.no_grad():
            for _ in range(steps):
                net(x, label, c)

    return lambda: sampler.sample(view, seeds, SHAPE, c, steps), bare


def turn(batch: int = 128) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return one denoising turn of our loop, and the same turn written out by hand."""
    data = Batch(torch.randn(batch, *SHAPE), torch.arange(batch) % 10)
    net, process = UNet(1, 10), EDM(sigma_data=0.75)
    learner = Learner(Denoiser(net, process), Denoise(drop=0.1), Adam(1e-3), averages={"ema": Ema(0.998)})
    training, accelerator = Training({"student": learner}, OneStep(80.0), steps=10**9), Accelerator(cpu=True)
    training.prepare(accelerator)
    mine, average = UNet(1, 10), UNet(1, 10).requires_grad_(False)
    optimizer = torch.optim.Adam(mine.parameters(), lr=1e-3, fused=True)

    def bare() -> None:
        sigma = torch.exp(torch.randn(batch) * 1.2 - 1.2)[:, None, None, None]
        c = torch.where(torch.rand(batch) < 0.1, -1, data.c)
        x = data.x0 + sigma * torch.randn_like(data.x0)
        root = (sigma**2 + 0.75**2).sqrt()
        estimate = 0.75**2 / root**2 * x + sigma * 0.75 / root * mine(x / root, sigma.flatten().log() / 4, c)
        loss = ((sigma**-2 + 0.75**-2) * (estimate - data.x0) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(mine.parameters(), 1e9)
        optimizer.step()
        torch._foreach_lerp_(list(average.parameters()), list(mine.parameters()), 0.002)

    return lambda: list(train(training, [data], accelerator)), bare


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--threads", type=int, default=2)
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    for steps in (1, 2, 4):
        low, middle, high = ratio(*sampling(steps), chosen.rounds)
        print(f"sampling, {steps} steps of 256 images: {middle:.3f} x the bare calls ({low:.3f} to {high:.3f})")
    low, middle, high = ratio(*turn(), chosen.rounds)
    print(f"one training turn, batch 128: {middle:.3f} x the bare loop ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
