"""Looking at a run while it trains: is it healthy, and are these the best weights so far?"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fewstep.data import Data
from fewstep.evaluate import Judge
from fewstep.jobs.measure import labels_like
from fewstep.model import Model
from fewstep.training import Collapse, Connected, Finite, Monitor, Report, RunawayCritic, watch

__all__ = ["Doctor", "reference_of"]

SEEDS = 8  # per condition; at most 16 conditions are looked at
CONDITIONS = 16
YOUNG = 200  # batches; a network that has seen fewer may still be flat
FIRST_SEED = 2_000_000  # apart from the seeds that `evaluate` judges


@dataclass
class Doctor:
    """Monitors for every report, and a look at samples of fixed seeds now and then.

    The score is the geometric mean of the Frechet distances at the fewest and the most steps the model is made for;
    lower is better.  It is for choosing between checkpoints only.
    """

    judge: Judge
    collapse: Collapse
    samples: int
    monitors: list[Monitor] = field(default_factory=lambda: [Finite(), Connected(), RunawayCritic()])

    def listen(self, report: Report) -> None:
        """Show a report to every monitor; raises ``UnhealthyTraining``."""
        watch(self.monitors, report)

    def look(self, model: Model, step: int) -> dict[str, float]:
        """Sample, compare with the reference, and score; raises ``UnhealthyTraining``."""
        few = _same_seeds(model)
        seen = self.collapse.look(few, step, young=step < YOUNG)
        distances = []
        for steps in sorted({min(model.sampler.made_for), max(model.sampler.made_for)}):
            labels = labels_like(self.judge, self.samples) if model.classes else None
            images = model.sample(range(FIRST_SEED, FIRST_SEED + self.samples), labels, steps)
            seen[f"frechet at {steps}"] = self.judge.distance(images)
            distances.append(math.log(max(seen[f"frechet at {steps}"], 1e-9)))
        return seen | {"score": math.exp(sum(distances) / len(distances))}


def reference_of(data: Data, teacher: Model | None) -> Tensor:
    """Return (conditions, seeds, ...) samples of the teacher, or real items when there is none."""
    return _same_seeds(teacher) if teacher is not None else _real(data)


def _same_seeds(model: Model) -> Tensor:
    conditions = max(1, min(len(model.classes), CONDITIONS))
    labels = torch.arange(conditions).repeat_interleave(SEEDS) if model.classes else None
    seeds = [FIRST_SEED - 1 - i % SEEDS for i in range(conditions * SEEDS)]
    samples = model.sample(seeds, labels)
    return samples.reshape(conditions, SEEDS, *samples.shape[1:])


def _real(data: Data) -> Tensor:
    """Return eight real items of each class that has as many; of all classes together when none has."""
    batch = data.batch([i * len(data) // min(len(data), 2000) for i in range(min(len(data), 2000))])
    groups = (
        [batch.x0] if batch.c is None else [batch.x0[batch.c == k] for k in range(min(len(data.classes), CONDITIONS))]
    )
    full = [group[:SEEDS] for group in groups if len(group) >= SEEDS]
    return torch.stack(full) if full else batch.x0[None]
