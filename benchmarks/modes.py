"""Which divergence covers 25 modes: one-step students of an exact teacher, trained by distribution matching.

    python benchmarks/modes.py [--steps 3000] [--seeds 1] [--divergences ReverseKL ForwardKL ...] [--threads 1]

The data are 25 heaps on a grid; the teacher's denoiser is exact.  Student and fake score begin as one small network
that has learned to denoise the data; the density ratio is that of a critic on the fake score's features (f-distill,
arXiv 2502.15681), as in the recipe f-distill but without its adversarial cost.  Nothing but the divergence differs
between the lines.  A mode is covered when at least a quarter of its share of the samples lies within 3 deviations of
it; ``even`` is e to the entropy of the shares over 25 (1: all alike), ``least`` the smallest share over the fair one,
``strays`` the samples farther than 3 deviations from every mode (of the data: 1.1 %), ``distance`` the mean one to the
nearest mode, in deviations (of the data: 1.25).
"""

import argparse
import copy
import math
import statistics
import time
from collections.abc import Iterator

import torch
from accelerate import Accelerator

from fewstep import EDM, Denoiser, FlowMap, Learner, Training, terms, train
from fewstep.batch import Batch
from fewstep.networks import MLP, Headed
from fewstep.scalars import Piecewise
from fewstep.terms import Denoise, DensityRatio, Discriminate, DistributionMatching, Plain
from fewstep.testing import Mixture
from fewstep.times import LogNormal
from fewstep.training import Adam, Ema, OneStep

SIDE, APART, STD = 5, 2.0, 0.2
START, BATCH, SAMPLES = 10.0, 256, 10_000
TIMES = LogNormal(-1.0, 1.2)
DIVERGENCES = ("ReverseKL", "JensenShannon", "ForwardKL", "SoftenedReverseKL", "SquaredHellinger", "Jeffreys")


def grid() -> Mixture:
    line = APART * (torch.arange(SIDE, dtype=torch.float64) - (SIDE - 1) / 2)
    means = torch.cartesian_prod(line, line)
    deviation = math.sqrt(float(line.square().mean()) + STD**2)
    count = SIDE**2
    weights, stds = torch.full((count,), 1 / count, dtype=torch.float64), torch.full((count,), STD, dtype=torch.float64)
    return Mixture(EDM(sigma_data=deviation), weights, means, stds)


def batches(world: Mixture, seed: int) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield Batch(world.sample(BATCH, generator).float())


def run(training: Training, world: Mixture, seed: int) -> None:
    accelerator = Accelerator(cpu=True)
    training.prepare(accelerator)
    for report in train(training, batches(world, seed), accelerator):
        if report.step >= training.steps - 1 and report.learner == training.due(report.step)[-1]:
            return


def begun(world: Mixture, steps: int, seed: int) -> Denoiser:
    """Return a network that has learned to denoise the data."""
    torch.manual_seed(seed)
    rate = falling(2e-3)
    learner = Learner(Denoiser(MLP(2, width=128), world.process), Denoise(times=LogNormal(0.0, 1.4)), Adam(rate))
    run(Training({"student": learner}, OneStep(START), steps=steps, seed=seed), world, seed)
    return Denoiser(learner.bare.requires_grad_(False).eval(), world.process)


def student(world: Mixture, view: Denoiser, divergence: terms.Divergence, steps: int, seed: int) -> Denoiser:
    """Return the average of a student that was trained under a divergence."""
    torch.manual_seed(seed + 1)
    own, fake = (copy.deepcopy(view.net).requires_grad_(True) for _ in range(2))
    headed = Headed(fake, "middle.1", (torch.zeros(2, 2), torch.zeros(2), None))
    ratio = DensityRatio("fake_score")
    matching = DistributionMatching(times=TIMES, normaliser=Plain(), divergence=divergence, ratio=ratio)
    betas = (0.0, 0.99)
    learners = {
        "student": Learner(
            Denoiser(own, world.process), matching, Adam(falling(1e-3), betas), averages={"ema": Ema(0.99)}
        ),
        "fake_score": Learner(
            Denoiser(headed, world.process),
            Denoise(on="samples", times=LogNormal(0.0, 1.4)) + 0.1 * Discriminate(times=TIMES),
            Adam(falling(2e-3), betas),
        ),
    }
    run(Training(learners, OneStep(START), {"teacher": world}, steps=steps, seed=seed), world, seed)
    return Denoiser(learners["student"].followers["ema"].net.eval(), world.process)


def falling(high: float) -> Piecewise:
    """Return a rate that falls from ``high`` to a tenth of it in the second half."""
    return Piecewise(((0.0, high), (0.5, high), (1.0, high / 10)))


def judged(world: Mixture, view: Denoiser) -> dict[str, float]:
    z = torch.randn(SAMPLES, 2, generator=torch.Generator().manual_seed(99))
    t = torch.full((SAMPLES,), START, dtype=torch.float64)
    with torch.no_grad():
        x = FlowMap(view)(START * z, t, torch.zeros_like(t)).double()
    return counted(world, x)


def counted(world: Mixture, x: torch.Tensor) -> dict[str, float]:
    away, nearest = torch.cdist(x, world.means).min(1)
    near, count = away <= 3 * STD, len(world.means)
    shares = nearest[near].bincount(minlength=count).double() / len(x)
    known = shares[shares > 0] / shares.sum()
    return {
        "covered": int((shares >= 0.25 / count).sum()),
        "even": float(torch.exp(-(known * known.log()).sum())) / count,
        "least": float(shares.min()) * count,
        "strays": 1 - float(near.double().mean()),
        "distance": float(away.mean()) / STD,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--divergences", nargs="+", default=DIVERGENCES, metavar="NAME")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    world = grid()
    starts = [begun(world, given.steps // 4, seed) for seed in range(given.seeds)]
    print("| divergence | covered of 25 | even | least | strays | distance | seconds |")
    print("|---|---|---|---|---|---|---|")
    data = counted(world, world.sample(SAMPLES, torch.Generator().manual_seed(98)))
    print(line("the data", [data], 0.0), flush=True)
    for name in given.divergences:
        began = time.perf_counter()
        divergence = vars(terms)[name]()
        found = [judged(world, student(world, view, divergence, given.steps, s)) for s, view in enumerate(starts)]
        print(line(name, found, (time.perf_counter() - began) / given.seeds), flush=True)


def line(name: str, found: list[dict[str, float]], seconds: float) -> str:
    mean = {key: statistics.fmean(each[key] for each in found) for key in found[0]}
    return (
        f"| {name} | {mean['covered']:.4g} | {mean['even']:.2f} | {mean['least']:.2f} | {mean['strays']:.1%} | "
        f"{mean['distance']:.2f} | {seconds:.0f} |"
    )


if __name__ == "__main__":
    main()
