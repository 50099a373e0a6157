"""Looking at a run while it trains: is it healthy, and are these the best weights so far?"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fewstep.batch import Batch
from fewstep.data import Data
from fewstep.errors import UnhealthyTraining
from fewstep.evaluate import Judge
from fewstep.jobs.measure import labels_like
from fewstep.model import Model
from fewstep.training import Collapse, Connected, Finite, Monitor, Report, RunawayCritic, watch

__all__ = ["Doctor", "reference_of"]

SEEDS = 8  # per condition; at most 16 conditions are looked at
CONDITIONS = 16
DIVERGED = 10  # times the best distance so far; noise and curricula move it by less than three times
YOUNG = 200  # batches; a network that has seen fewer may still be flat
FIRST_SEED = 2_000_000  # apart from the seeds that `evaluate` judges


@dataclass
class Doctor:
    """Monitors for every report, and a look at samples of fixed seeds now and then.

    The score is the geometric mean of the Frechet distances at the fewest and the most steps the model is made for;
    lower is better.  It is for choosing between checkpoints, and for seeing a training that diverges: then ``pitfalls``
    are named.  ``best`` is the best score so far.
    """

    judge: Judge
    collapse: Collapse
    samples: int
    pitfalls: str = ""
    best: float = math.inf
    monitors: list[Monitor] = field(default_factory=lambda: [Finite(), Connected(), RunawayCritic()])

    def listen(self, report: Report) -> None:
        """Show a report to every monitor; raises ``UnhealthyTraining``."""
        watch(self.monitors, report)

    def look(self, model: Model, step: int) -> dict[str, float]:
        """Sample, compare with the reference, and score; raises ``UnhealthyTraining``."""
        few = _same_seeds(model, self.judge.labels)
        seen = self.collapse.look(few, step, young=step < YOUNG)
        distances = []
        for steps in sorted({min(model.sampler.made_for), max(model.sampler.made_for)}):
            labels = labels_like(self.judge, self.samples) if model.conditional else None
            images = model.sample(range(FIRST_SEED, FIRST_SEED + self.samples), labels, steps)
            seen[f"frechet at {steps}"] = self.judge.distance(images)
            distances.append(math.log(max(seen[f"frechet at {steps}"], 1e-9)))
        score = math.exp(sum(distances) / len(distances))
        if score > DIVERGED * self.best:
            raise UnhealthyTraining(
                f"At step {step} the distance to the data is {score:.3g}, {score / self.best:.0f} times the best so "
                f"far ({self.best:.3g}): the training has diverged. {self.pitfalls or 'Lower the learning rate.'}"
            )
        self.best = min(self.best, score)
        return seen | {"score": score}


def reference_of(data: Data, teacher: Model | None) -> Tensor:
    """Return (conditions, seeds, ...) samples of the teacher, or real items when there is none."""
    if teacher is None:
        return _real(data)
    return _same_seeds(teacher, _some(data).c if teacher.condition else None)


def _same_seeds(model: Model, real: Tensor | None) -> Tensor:
    """Sample the same seeds for each of several conditions: the first classes, or ``real`` ones, evenly spread."""
    labels, conditions = None, 1
    if model.condition and real is not None:
        conditions = min(len(real), CONDITIONS)
        labels = real[[i * len(real) // conditions for i in range(conditions)]].repeat_interleave(SEEDS, 0)
    elif model.classes:
        conditions = min(len(model.classes), CONDITIONS)
        labels = torch.arange(conditions).repeat_interleave(SEEDS)
    seeds = [FIRST_SEED - 1 - i % SEEDS for i in range(conditions * SEEDS)]
    samples = model.sample(seeds, labels)
    return samples.reshape(conditions, SEEDS, *samples.shape[1:])


def _some(data: Data) -> Batch:
    """Return at most 2,000 items, evenly spread."""
    count = min(len(data), 2000)
    return data.batch([i * len(data) // count for i in range(count)])


def _real(data: Data) -> Tensor:
    """Return eight real items of each class that has as many; of all classes together when none has.

    No two items share a condition that is a tensor: then these are the eight with the nearest ones.
    """
    batch = _some(data)
    if data.condition and batch.c is not None:
        c, few = batch.c.flatten(1), len(batch.c) // min(len(batch.c), CONDITIONS)
        nearest = torch.cdist(c[::few][:CONDITIONS], c).argsort(1)[:, :SEEDS]
        return batch.x0[nearest]
    groups = (
        [batch.x0] if batch.c is None else [batch.x0[batch.c == k] for k in range(min(len(data.classes), CONDITIONS))]
    )
    full = [group[:SEEDS] for group in groups if len(group) >= SEEDS]
    return torch.stack(full) if full else batch.x0[None]
