"""Pairs of noise and teacher sample, made before a training that regresses on them."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from fewstep.batch import Batch
from fewstep.data import PairStore, write_pairs
from fewstep.draws import item_noise
from fewstep.jobs.progress import bar
from fewstep.model import Model
from fewstep.recipes import PairsSpec, guide
from fewstep.store import fingerprint

__all__ = ["pairs_for"]


def pairs_for(spec: PairsSpec, teacher: Model, labels: Tensor | None, folder: Path, seed: int, show: bool) -> PairStore:
    """Make the pairs of a recipe, or continue, or open them when they are complete.

    ``labels`` are those of the real data: pair i is of label ``labels[i % len]``.
    """
    made_with = {
        "teacher": fingerprint(teacher),
        "solver": type(spec.solver).__name__,
        "steps": str(spec.steps),
        "times": ", ".join(f"{time:.6g}" for time in spec.schedule.steps(spec.steps).tolist()),
        "guidance": "; ".join(map(repr, spec.guidance)) or "none",
        "seed": str(seed),
    }
    make = _maker(spec, teacher, labels, seed)
    writing = write_pairs(
        folder, make, count=spec.count, shard=spec.shard, made_with=made_with, classes=teacher.classes
    )
    with bar("teacher pairs", show) as move:
        for done, total in writing:
            move(done, total)
    return PairStore.open(folder, made_with)


def _maker(spec: PairsSpec, teacher: Model, labels: Tensor | None, seed: int) -> Callable[[int, int], Batch]:
    times, guided = spec.schedule.steps(spec.steps), guide(teacher.view, spec.guidance)
    device = next((parameter.device for parameter in teacher.view.net.parameters()), torch.device("cpu"))

    @torch.no_grad()
    def make(start: int, stop: int) -> Batch:
        """Solve the teacher from the noise of pairs start to stop, 512 at a time."""
        z = item_noise([seed * 10**9 + i for i in range(start, stop)], teacher.shape)[0].to(device)
        c = None if labels is None else labels[torch.arange(start, stop) % len(labels)].to(device)
        sigma = teacher.view.process.sigma(times[:1]).float().to(device)
        ends = [
            spec.solver(guided, z[i : i + 512] * sigma, times, None if c is None else c[i : i + 512])
            for i in range(0, len(z), 512)
        ]
        return Batch(torch.cat(ends), c, z)

    return make
