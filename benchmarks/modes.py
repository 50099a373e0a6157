"""Which divergence brings lost modes back: one-step students of an exact teacher, trained by distribution matching.

    python benchmarks/modes.py [--steps 900] [--seeds 3] [--divergences ReverseKL ForwardKL ...] [--rarest 0.02]
                               [--noise -1.9 0.6] [--waves 8] [--threads 1]

The data are 25 heaps on a grid, all alike, 10 deviations apart; the teacher's denoiser is exact.  The student is a
decent one-step map from the first, but of other data, so that it has modes to lose and to find: the shares of its modes
fall evenly from 1 to ``rarest``, in an order that differs from seed to seed.  It has learned the ends of the exact ODE
of such a mixture by regression, the fake score begins as a network that has learned to denoise it, and both fake score
and critic (a head on its features, f-distill, arXiv 2502.15681) have 200 turns to know the student before it moves.
Nothing but the divergence differs between the lines: not the start, the rates, the draws of data nor the noise levels.

Every divergence has its optimum at the data, and with noise that joins the modes (``--noise -1 1.2``) all lines come
near it.  By default ``ln sigma`` is N(-1.9, 0.6^2): noise that seldom exceeds half a unit, where modes are two units
apart, hardly tells one mode of another, and what counts is the weight of the few samples on the way to a lost mode.

The network is told sines and cosines of its input.  A plain one (``--waves 0``) cannot be steep enough between the
modes and leaves several times as many samples there, whatever the divergence.

A mode is covered when at least a quarter of its share of the samples lies within 3 deviations of it; ``even`` is e to
the entropy of the shares over 25 (1: all alike), ``least`` the smallest share over the fair one, ``strays`` the samples
farther than 3 deviations from every mode (of the data: 1.1 %), ``distance`` the mean one to the nearest mode, in
deviations (of the data: 1.25).  Means over the seeds; +- is the standard deviation between them, ``evener`` what is
gained in ``even`` over the divergence of the first line from the same start, seed by seed.
"""

import argparse
import copy
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from fewstep import EDM, Denoiser, FlowMap, Learner, Training, terms, train
from fewstep.batch import Batch
from fewstep.networks import MLP, Headed
from fewstep.scalars import Piecewise
from fewstep.terms import Denoise, DensityRatio, Discriminate, DistributionMatching, Plain, Regress
from fewstep.testing import Mixture
from fewstep.times import LogNormal
from fewstep.training import Adam, Ema, OneStep

SIDE, APART, STD = 5, 2.0, 0.2
START, BATCH, SAMPLES, PAIRS = 10.0, 256, 10_000, 20_000
KNOWS = 200  # turns of fake score and critic before the student's first
DENOISED, REGRESSED = 1200, 1500  # updates of the two networks that training begins with
DIVERGENCES = ("ReverseKL", "SoftenedReverseKL", "JensenShannon", "SquaredHellinger", "ForwardKL", "Jeffreys")


class Waves(nn.Module):
    """A small network that is told sines and cosines of a point, so that it can be steep."""

    frequencies: Tensor

    def __init__(self, count: int, width: int = 128) -> None:
        super().__init__()
        self.register_buffer("frequencies", 1.5 ** torch.arange(count))
        self.inner = MLP(2, width=width)
        self.inner.first = nn.Linear(2 + 4 * count, width)

    def forward(self, x: Tensor, label: Tensor, c: Tensor | None = None) -> Tensor:
        angle = (x[:, :, None] * self.frequencies).flatten(1)
        return self.inner(torch.cat([x, angle.sin(), angle.cos()], 1), label, c)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Start:
    """What every student of a seed begins with: a one-step map, and a denoiser of what it makes."""

    seed: int
    student: Denoiser
    denoiser: Denoiser


def grid(weights: Tensor) -> Mixture:
    """Return 25 heaps on a grid; weights (25,)."""
    line = APART * (torch.arange(SIDE, dtype=torch.float64) - (SIDE - 1) / 2)
    deviation = math.sqrt(float(line.square().mean()) + STD**2)
    stds = torch.full((SIDE**2,), STD, dtype=torch.float64)
    means = torch.cartesian_prod(line, line)
    return Mixture(EDM(sigma_data=deviation), weights / weights.sum(), means, stds, substeps=32)


def even() -> Mixture:
    return grid(torch.ones(SIDE**2, dtype=torch.float64))


def uneven(rarest: float, seed: int) -> Mixture:
    order = torch.randperm(SIDE**2, generator=torch.Generator().manual_seed(seed))
    return grid(rarest ** (order.double() / (SIDE**2 - 1)))


def batches(world: Mixture, seed: int) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield Batch(world.sample(BATCH, generator).float())


def pairs(world: Mixture, seed: int) -> Iterator[Batch]:
    """Yield noise with the exact end of its path."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(PAIRS, 2, generator=generator, dtype=torch.float64)
    t = torch.full((PAIRS,), START, dtype=torch.float64)
    x0 = torch.cat([world.flow(START * a, b, 0 * b) for a, b in zip(z.split(4000), t.split(4000), strict=True)])
    while True:
        drawn = torch.randint(PAIRS, (BATCH,), generator=generator)
        yield Batch(x0[drawn].float(), z=z[drawn].float())


def run(learners: dict[str, Learner], fed: Iterator[Batch], steps: int, seed: int, world: Mixture) -> None:
    training, accelerator = Training(learners, OneStep(START), {"teacher": world}, steps, seed), Accelerator(cpu=True)
    training.prepare(accelerator)
    for _ in train(training, fed, accelerator):
        pass


def fixed(net: nn.Module, world: Mixture) -> Denoiser:
    return Denoiser(net.requires_grad_(False).eval(), world.process)


def begun(world: Mixture, seed: int, waves: int) -> Start:
    """Return a network that has learned to denoise a world, and one that has learned to jump to its ends."""
    torch.manual_seed(seed)
    learner = Learner(Denoiser(Waves(waves), world.process), Denoise(times=LogNormal(0.0, 1.4)), Adam(falling(2e-3)))
    run({"student": learner}, batches(world, seed), DENOISED, seed, world)
    denoiser = fixed(copy.deepcopy(learner.bare), world)
    view = Denoiser(copy.deepcopy(learner.bare), world.process)
    learner = Learner(view, Regress(START), Adam(falling(2e-3)), averages={"ema": Ema(0.99)})
    run({"student": learner}, pairs(world, seed + 1), REGRESSED, seed, world)
    return Start(seed, fixed(learner.followers["ema"].net, world), denoiser)


def student(world: Mixture, start: Start, divergence: terms.Divergence, steps: int, times: LogNormal) -> Denoiser:
    """Return the average of a student that was trained under a divergence."""
    torch.manual_seed(start.seed)
    own, fake = (copy.deepcopy(view.net).requires_grad_(True) for view in (start.student, start.denoiser))
    headed = Headed(fake, "inner.middle.1", (torch.zeros(2, 2), torch.zeros(2), None))
    ratio = DensityRatio("fake_score")
    matching = DistributionMatching(times=times, normaliser=Plain(), divergence=divergence, ratio=ratio)
    telling = Denoise(on="samples", times=LogNormal(-0.5, 1.4)) + 0.3 * Discriminate(times=times)
    view, averages, betas = Denoiser(own, world.process), {"ema": Ema(0.99)}, (0.0, 0.99)
    learners = {
        "student": Learner(view, matching, Adam(falling(3e-4), betas), after=KNOWS, averages=averages),
        "fake_score": Learner(Denoiser(headed, world.process), telling, Adam(falling(1e-3), betas)),
    }
    run(learners, batches(world, start.seed), steps + KNOWS, start.seed, world)
    return fixed(learners["student"].followers["ema"].net, world)


def falling(high: float) -> Piecewise:
    """Return a rate that falls from ``high`` to a tenth of it in the second half."""
    return Piecewise(((0.0, high), (0.5, high), (1.0, high / 10)))


def judged(world: Mixture, view: Denoiser) -> dict[str, float]:
    z = torch.randn(SAMPLES, 2, generator=torch.Generator().manual_seed(99))
    t = torch.full((SAMPLES,), START, dtype=torch.float64)
    with torch.no_grad():
        x = FlowMap(view)(START * z, t, torch.zeros_like(t)).double()
    return counted(world, x)


def counted(world: Mixture, x: Tensor) -> dict[str, float]:
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
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--divergences", nargs="+", default=DIVERGENCES, metavar="NAME")
    parser.add_argument("--rarest", type=float, default=0.02)
    parser.add_argument("--noise", type=float, nargs=2, default=(-1.9, 0.6), metavar=("MEAN", "STD"))
    parser.add_argument("--waves", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    world, times = even(), LogNormal(*given.noise)
    print("| divergence | covered of 25 | even | evener | least | strays | distance | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    data = world.sample(SAMPLES, torch.Generator().manual_seed(98))
    print(line("the data", [counted(world, data)], 0.0), flush=True)
    began = time.perf_counter()
    starts = [begun(uneven(given.rarest, seed), seed, given.waves) for seed in range(given.seeds)]
    seconds = (time.perf_counter() - began) / given.seeds
    print(line("the start", [judged(world, start.student) for start in starts], seconds), flush=True)
    first: list[dict[str, float]] = []
    for name in given.divergences:
        began = time.perf_counter()
        divergence = vars(terms)[name]()
        found = [judged(world, student(world, start, divergence, given.steps, times)) for start in starts]
        print(line(name, found, (time.perf_counter() - began) / given.seeds, first), flush=True)
        first = first or found


def line(name: str, found: list[dict[str, float]], seconds: float, first: Sequence[dict[str, float]] = ()) -> str:
    mean = {key: statistics.fmean(each[key] for each in found) for key in found[0]}
    even, least = (spread([each[key] for each in found]) for key in ("even", "least"))
    gained = spread([own["even"] - other["even"] for own, other in zip(found, first, strict=True)]) if first else ""
    return (
        f"| {name} | {mean['covered']:.1f} | {even} | {gained} | {least} | {mean['strays']:.1%} | "
        f"{mean['distance']:.2f} | {seconds:.0f} |"
    )


def spread(values: list[float]) -> str:
    apart = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.3f} +- {apart:.3f}"


if __name__ == "__main__":
    main()
