"""Pairs of noise and teacher sample, made before a training that regresses on them."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from fewstep.batch import Batch, States
from fewstep.data import PairsPlan, PairStore, write_pairs
from fewstep.data.base import digest
from fewstep.draws import item_noise
from fewstep.jobs.progress import bar
from fewstep.model import Model
from fewstep.recipes import PairsSpec, guide
from fewstep.store import fingerprint
from fewstep.types import Cond, X

__all__ = ["pairs_for", "solved"]


def pairs_for(
    spec: PairsSpec, teacher: Model, labels: Tensor | None, folder: Path, show: bool, shared: Path | None = None
) -> PairStore:
    """Make the pairs of a recipe in ``folder``, or continue, or open them when they are complete.

    ``labels`` are those of the real data: pair i is of label ``labels[i % len]``.  ``shared`` is the home of all pairs
    that runs share; there these have a folder that is named by what they are made with, in the place of ``folder``.
    As many are solved together as the teacher samples ``at_once``, which changes no more than the last bits of them.
    """
    plan = _plan(spec, teacher, labels)
    if shared is not None:
        folder = shared / digest([repr((plan.count, plan.settings)).encode()])
    writing = write_pairs(folder, _maker(spec, teacher, labels), plan)
    with bar("teacher pairs", show) as move:
        for done, total in writing:
            move(done, total)
    return PairStore.open(folder, plan.facts)


def _plan(spec: PairsSpec, teacher: Model, labels: Tensor | None) -> PairsPlan:
    times = tuple(spec.schedule.steps(spec.steps).tolist())
    made_with = {
        "teacher": fingerprint(teacher),
        "solver": type(spec.solver).__name__,
        "steps": str(spec.steps),
        "times": ", ".join(f"{time:.6g}" for time in times),
        "guidance": "; ".join(map(repr, spec.guidance)) or "none",
        "seed": str(spec.seed),
        "conditions": "none" if labels is None else digest([labels.cpu().contiguous().numpy().tobytes()]),
    }
    return PairsPlan(spec.count, spec.shard, made_with, teacher.classes, times[:-1] if spec.path else ())


def _maker(spec: PairsSpec, teacher: Model, labels: Tensor | None) -> Callable[[int, int], Batch]:
    def make(start: int, stop: int) -> Batch:
        """Solve the teacher from the noise of pairs start to stop, as many at a time as it samples at once."""
        z = item_noise([spec.seed * 10**9 + i for i in range(start, stop)], teacher.shape)[0]
        c = None if labels is None else labels[torch.arange(start, stop) % len(labels)]
        lots = [slice(i, i + teacher.at_once) for i in range(0, len(z), teacher.at_once)]
        parts = [solved(spec, teacher, z[lot], None if c is None else c[lot]) for lot in lots]
        paths = [path for _, path in parts if path is not None]
        return Batch(torch.cat([end for end, _ in parts]), c, z, torch.cat(paths) if paths else None)

    return make


@torch.no_grad()
def solved(spec: PairsSpec, teacher: Model, z: X, c: Cond) -> tuple[X, States | None]:
    """Return where the teacher arrives from noise and, when they are to be kept, the states at all times but the last.

    All on the CPU, wherever the teacher is.
    *Exact when* a step of the solver depends on nothing but its x, to the last bit; ``PairsSpec`` refuses the others.
    """
    times, guided = spec.schedule.steps(spec.steps), guide(teacher.view, spec.guidance)
    device = next((parameter.device for parameter in teacher.view.net.parameters()), torch.device("cpu"))
    x, c = (
        teacher.view.process.prior(z.to(device), times[:1].to(device).expand(len(z))),
        None if c is None else c.to(device),
    )
    if not spec.path:
        return spec.solver(guided, x, times, c).cpu(), None
    states = []
    for i in range(len(times) - 1):
        states.append(x.cpu())
        x = spec.solver(guided, x, times[i : i + 2], c)
    return x.cpu(), torch.stack(states, 1)
