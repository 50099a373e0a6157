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
from fewstep.jobs.pulse import CONDITIONS, FIRST_SEED, conditions_of, same_seeds
from fewstep.model import Model
from fewstep.training import Collapse, Connected, ExplodingCritic, Finite, Monitor, Report, RunawayCritic, watch
from fewstep.training.collapse import between

__all__ = ["SEEDS", "Doctor", "features_of", "reference_of"]

SEEDS = 8  # per condition
DIVERGED = 10  # times the best score so far; noise and curricula move it by less than three times
YOUNG = 200  # batches; a network that has seen fewer may still be flat


@dataclass
class Doctor:
    """Monitors for every report, and a look at the samples of the weights that would be kept now and then.

    The score is the geometric mean of the Frechet distances at the fewest and the most steps the model is made for,
    and, where a checker tells whether captions are followed, of the shares that are wrong: a student may come nearer to
    the data and leave what guidance had asked for.  Lower is better.  It is for choosing between checkpoints, and for
    seeing a training that diverges: then ``pitfalls`` are named.  ``best`` is the best score so far.  ``teacher`` are
    the features of what the teacher makes of the seeds that are looked at, (conditions, seeds, d): with them a look
    says how far the student's samples are from these.
    """

    judge: Judge
    collapse: Collapse
    samples: int
    pitfalls: str = ""
    best: float = math.inf
    teacher: Tensor | None = None
    monitors: list[Monitor] = field(default_factory=lambda: [Finite(), Connected(), RunawayCritic(), ExplodingCritic()])

    def listen(self, report: Report) -> None:
        """Show a report to every monitor; raises ``UnhealthyTraining``."""
        watch(self.monitors, report)

    @property
    def calm(self) -> bool:
        """Whether no monitor suspects anything."""
        return all(monitor.calm for monitor in self.monitors)

    def look(self, model: Model, step: int) -> dict[str, float]:
        """Sample, compare with the reference, and score; raises ``UnhealthyTraining``."""
        few, names = same_seeds(model, self.judge.labels, SEEDS), conditions_of(model, self.judge.labels)
        seen = self.collapse.look(few, step, young=step < YOUNG, names=names)
        if self.teacher is not None:
            seen["distance to the teacher"] = _apart(features_of(self.judge, few), self.teacher)
        logs = []
        for steps in sorted({min(model.sampler.made_for), max(model.sampler.made_for)}):
            labels = labels_like(self.judge, self.samples) if model.conditional else None
            images = model.sample(range(FIRST_SEED, FIRST_SEED + self.samples), labels, steps)
            found = {"frechet": max(self.judge.distance(images), 1e-9), "wrong": self.judge.wrong(images, labels)}
            told = {f"{name} at {steps}": value for name, value in found.items() if value is not None}
            seen |= told
            logs.append(sum(map(math.log, told.values())) / len(told))
        score = math.exp(sum(logs) / len(logs))
        if score > DIVERGED * self.best:
            raise UnhealthyTraining(
                f"At step {step} the score is {score:.3g}, {score / self.best:.0f} times the best so "
                f"far ({self.best:.3g}): the training has diverged. {self.pitfalls or 'Lower the learning rate.'}"
            )
        self.best = min(self.best, score)
        return seen | {"score": score}


def _apart(ours: Tensor, theirs: Tensor) -> float:
    """Return the root mean squared distance of features to others of the same seed and condition.

    In units of that between the others' seeds of one condition: 0 where every sample is the same, 1 where the seed
    does not matter.
    """
    return float((ours - theirs).square().mean().sqrt()) / between(theirs)


def features_of(judge: Judge, samples: Tensor) -> Tensor:
    """Return what a judge sees of samples (conditions, seeds, ...): (conditions, seeds, d)."""
    return judge.described(samples.flatten(0, 1)).reshape(*samples.shape[:2], -1)


def reference_of(data: Data, teacher: Model | None, labels: Tensor | None) -> tuple[Tensor, list[str]]:
    """Return (conditions, seeds, ...) samples of the teacher, or real items when there is none, and the conditions'
    names.

    ``labels`` are the judge's, among which conditions that are no classes are chosen.
    """
    if teacher is None:
        return _real(data)
    return same_seeds(teacher, labels, SEEDS), conditions_of(teacher, labels)


def _some(data: Data) -> Batch:
    """Return at most 2,000 items, evenly spread."""
    count = min(len(data), 2000)
    return data.batch([i * len(data) // count for i in range(count)])


def _real(data: Data) -> tuple[Tensor, list[str]]:
    """Return eight real items of each class that has as many, and their names; of all together when none has.

    No two items share a condition that is a tensor: then these are the eight with the nearest ones.
    """
    batch, classes = _some(data), data.classes[:CONDITIONS]
    if data.condition and batch.c is not None:
        c, few = batch.c.flatten(1), len(batch.c) // min(len(batch.c), CONDITIONS)
        nearest = torch.cdist(c[::few][:CONDITIONS], c).argsort(1)[:, :SEEDS]
        return batch.x0[nearest], [str(i) for i in range(len(nearest))]
    groups = {} if batch.c is None else {name: batch.x0[batch.c == k] for k, name in enumerate(classes)}
    full = {name: group[:SEEDS] for name, group in groups.items() if len(group) >= SEEDS}
    return (torch.stack(list(full.values())), list(full)) if full else (batch.x0[None], ["all"])
