"""The time that a distillation takes: updates, looks at samples, the pulse, and pairs that are made before."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from fewstep.jobs.ask import Ask
from fewstep.jobs.health import SEEDS
from fewstep.jobs.memory import FEW
from fewstep.jobs.pairs import solved
from fewstep.jobs.pulse import EVERY, beat_size, conditions_of, raw, room
from fewstep.model import Model
from fewstep.recipes import Assembly, PairsSpec

__all__ = ["Pace", "judged_seconds", "spent_beside"]

TIMED = 32  # items that are sampled to see how long that takes
SLOW = 1.0  # seconds for a sample, beside which a warm-up does not matter


@dataclass(frozen=True)
class Pace:
    """What a distillation calls and how long it lasts.

    ``calls`` are network calls per item and update, by learner; ``seconds`` are those of a batch, ``spent`` those of
    the run by what they are for.  ``tried`` counts the batches behind these numbers, of ``size`` items: where the
    recipe's are larger, they would not have fitted, and what is said of them is extended from there.
    """

    calls: Mapping[str, Mapping[str, float]]
    seconds: float
    spent: Mapping[str, float]
    tried: int
    size: int

    @property
    def hours(self) -> float:
        """The hours of the whole run."""
        return sum(self.spent.values()) / 3600


def spent_beside(ask: Ask, assembly: Assembly) -> dict[str, float]:
    """Return the seconds of looks, of the pulse, and of pairs that are made before."""
    recipe, model = ask.recipe, ask.student(assembly)
    few, many = min(model.sampler.made_for), max(model.sampler.made_for)
    judged = sum(_seconds(ask, model, steps) + judged_seconds(ask) for steps in {few, many}) * recipe.judged
    known = len(conditions_of(model, ask.example.c))
    seeds = _seconds(ask, model, model.steps) * SEEDS * known
    felt, beats = raw(model, assembly.training), recipe.learners["student"].updates(recipe.steps) / EVERY
    beat = _seconds(ask, felt, min(felt.sampler.made_for)) * beat_size(known, room(felt, recipe.batch))
    spent = {"looks": recipe.looks * (judged + seeds), "pulse": beats * beat}
    if recipe.pairs is None:
        return spent
    return spent | {"pairs": recipe.pairs.count * _pair_seconds(recipe.pairs, ask)}


def judged_seconds(ask: Ask) -> float:
    """Return the seconds that it takes to judge a sample, or to make a picture of it where there is no judge."""
    if ask.judge is None and ask.pictures is None:
        return 0.0
    count = FEW if ask.judge is None else max(TIMED, ask.recipe.judged)
    items, start = ask.batch(count).x0, time.perf_counter()
    if ask.judge is not None:
        ask.judge.distance(items)
    elif ask.pictures is not None:
        ask.pictures(items)
    return (time.perf_counter() - start) / len(items)


def _seconds(ask: Ask, model: Model, steps: int) -> float:
    """Return the seconds that a sample takes, after a warm-up; of slow ones the warm-up says it."""
    for count in (FEW, TIMED):
        c, start = ask.conditions(model, count), time.perf_counter()
        model.sample(range(count), c, steps)
        seconds = (time.perf_counter() - start) / count
        if seconds > SLOW:
            break
    return seconds


def _pair_seconds(spec: PairsSpec, ask: Ask) -> float:
    """Return the seconds that a pair takes, after a warm-up."""
    seconds = 0.0
    for count in (FEW, TIMED):
        items, start = ask.batch(count), time.perf_counter()
        solved(spec, ask.teacher, torch.randn_like(items.x0), items.c)
        seconds = (time.perf_counter() - start) / count
    return seconds
