"""What several small students cost beside one of full size: parameters, seconds per image, and the distance if trained.

    python benchmarks/students.py [RUN_OF_MSD RUN_OF_FULL_SIZE] [--rounds 15] [--threads 1]

Without folders the networks of the recipes msd-tsm and edm are built as they are, for digits; speed does not depend on
weights.  With the folders of a finished run of msd and of one of dmd, these are timed, and their Fréchet
distances in one call are printed too.  Each round times one call of both, one after the other in changing order, on the
same noise; what is printed are medians.  "mixed" batches hold all classes, so that every student is called for its
share of the items; those of "one class" go through one student.  Target: half the seconds per image or less in the
batches of 512 by which models sample when nobody asks for others, at 1.1 times the distance or less.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch

from fewstep import EDM, Denoiser, Digits, FewStep, Model, judge_for, load_model, load_recipe, measure
from fewstep.networks import build_network, complete
from fewstep.times import Explicit

BATCHES = (64, 512)


def untrained(recipe: str) -> Model:
    """Return a one-step student with the network of a recipe."""
    data = Digits()
    words = complete(load_recipe(recipe).learners["student"].network or {}, data.shape, len(data.classes))
    net = build_network(words).eval().requires_grad_(False)
    sampler = FewStep(Explicit((2.5,)))
    return Model(Denoiser(net, EDM(sigma_data=0.7)), sampler, tuple(data.shape), tuple(data.classes), words)


def students(model: Model) -> list[torch.nn.Module]:
    """Return the networks of which every item meets one."""
    net = model.view.net
    return list(net.bodies) if "routed" in model.network else [net]


def seconds(model: Model, batch: int, labels: list[int]) -> float:
    """Return the seconds of one call on so many items."""
    x, t = torch.randn(batch, *model.shape), torch.full((batch,), 2.5, dtype=torch.float64)
    c, zero = torch.tensor(labels), torch.zeros(batch, dtype=torch.float64)
    with torch.no_grad():
        start = time.perf_counter()
        model.view(x, t, c, zero if model.view.second_time else None)
        return time.perf_counter() - start


def compared(small: Model, full: Model, batch: int, mixed: bool, rounds: int) -> tuple[float, float, float]:
    """Return the medians of how many times faster the small one is, and of the milliseconds per image of both."""
    labels = [i % len(small.classes) if mixed else 0 for i in range(batch)]
    found = []
    for i in range(rounds + 2):
        pair = (small, full) if i % 2 else (full, small)
        took = {id(model): seconds(model, batch, labels) for model in pair}
        found.append((took[id(full)] / took[id(small)], took[id(small)], took[id(full)]))
    faster, one, other = (statistics.median(column) for column in zip(*found[2:], strict=True))
    return faster, 1000 * one / batch, 1000 * other / batch


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folders", nargs="*", type=Path, metavar="RUN")
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--threads", type=int, default=1)
    given = options.parse_args()
    if len(given.folders) not in (0, 2):
        options.error("give two folders, that of msd first, or none")
    torch.set_num_threads(given.threads)
    small, full = map(load_model, given.folders) if given.folders else (untrained("msd-tsm"), untrained("edm"))
    sizes = [sum(p.numel() for p in net.parameters()) for net in (*students(small), *students(full))]
    shares = ", ".join(f"{size:,} ({size / sizes[-1]:.1%})" for size in sizes[:-1])
    print(f"parameters of each student: {shares}; of the full-size one: {sizes[-1]:,}")
    for batch in BATCHES:
        for mixed in (True, False):
            faster, one, other = compared(small, full, batch, mixed, given.rounds)
            kind = "mixed" if mixed else "one class"
            print(f"batch {batch:4}, {kind:9}: {faster:.2f} x faster ({one:.4f} against {other:.4f} ms per image)")
    if given.folders:
        judge = judge_for(Digits())
        one, other = (measure(model, judge, steps=[1])[0].frechet or 0 for model in (small, full))
        print(f"Fréchet distance in one call: {one:.4f} against {other:.4f}, {one / other:.2f} times as much")


if __name__ == "__main__":
    main()
