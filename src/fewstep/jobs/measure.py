"""Judge models against data: one row per model and number of steps, the floor beside them."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from fewstep.data import Data
from fewstep.errors import DataError
from fewstep.evaluate import Judge, Row, cached_classifier, held
from fewstep.files import CACHE
from fewstep.jobs.progress import bar
from fewstep.model import Model

__all__ = ["FIRST_SEED", "judge_for", "labels_like", "measure", "measure_all"]

FIRST_SEED = 1_000_000  # apart from the seeds that checkpoints are chosen by
MOST = 10_000  # images held for judging; more change the third digit only and cost minutes on a CPU


def judge_for(data: Data, features: nn.Module | None = None, cache: Path = CACHE) -> Judge:
    """Return a judge of items like ``data`` (at most 10,000 of them, evenly spread).

    ``features`` maps images, or what the data's own checker sees of items, to (n, d); without it a small classifier is
    trained once from a fixed seed and kept in ``cache``.  Pictures of latents are made a part at a time; while that
    classifier learns from many, they lie in a file there.
    """
    batch, checker = data.batch(_spread(len(data), min(len(data), MOST))), data.checker
    if features is not None and not data.classes:
        return Judge.of(batch.x0, batch.c, features, None, checker)
    if checker is None:
        classifier = cached_classifier(batch.x0, batch.c, len(data.classes), cache)
    else:
        kinds = None if batch.c is None else checker.kind(batch.c)
        with held(checker.seen, batch.x0, cache) as seen:
            classifier = cached_classifier(seen, kinds, checker.kinds, cache)
    named = classifier if data.classes else None
    return Judge.of(batch.x0, batch.c, classifier.trunk if features is None else features, named, checker)


def measure(
    model: Model,
    judge: Judge,
    *,
    name: str,
    steps: Sequence[int] | None = None,
    samples: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Return one row per number of steps: ``samples`` images, by default as many as real ones.

    Conditions are those of the real data, in their order; seeds count from 1,000,000.  Seconds are of sampling alone,
    after one batch to warm up.
    """
    rows = []
    for count in steps or [model.steps]:
        seeds, labels = _requests(model, judge, samples)
        model.sample(seeds[:64], None if labels is None else labels[:64], count)
        start = time.perf_counter()
        images = model.sample(seeds, labels, count, progress=progress)
        seconds = (time.perf_counter() - start) / len(seeds)
        calls = model.calls(count)
        rows.append(judge.judge(images, labels, model=name, steps=count, calls=calls, seconds_per_image=seconds))
    return rows


def measure_all(
    jobs: Sequence[tuple[str, Model, int]], judge: Judge, samples: int | None = None, show: bool = True
) -> list[Row]:
    """Return the floor and a row for each (name, model, number of steps), with a bar.

    Raises ``RecipeError`` for a number of steps that a schedule does not allow, before anything is sampled.
    """
    for _, model, steps in jobs:
        model.sampler.schedule.steps(steps)
    rows = [judge.floor()]
    with bar("evaluating", show) as move:
        for i, (name, model, steps) in enumerate(jobs):
            move(i, len(jobs), f"{name} at {steps} steps")
            rows += measure(model, judge, name=name, steps=[steps], samples=samples)
        move(len(jobs), len(jobs))
    return rows


def labels_like(judge: Judge, count: int) -> Tensor | None:
    """Return ``count`` conditions in the proportions of the real data, or None when they have none."""
    if judge.labels is None:
        return None
    return judge.labels[torch.tensor(_spread(len(judge.labels), count))]


def _requests(model: Model, judge: Judge, samples: int | None) -> tuple[list[int], Tensor | None]:
    count = len(judge.features) if samples is None else samples
    if count < 8:
        raise DataError(f"{count} samples were asked for; a judgement needs at least 8, and thousands mean something.")
    labels = labels_like(judge, count) if model.conditional else None
    return list(range(FIRST_SEED, FIRST_SEED + count)), labels


def _spread(have: int, want: int) -> list[int]:
    """Return ``want`` indices spread evenly over ``have`` (each once while there are enough)."""
    return list(range(have)) if want == have else [i * have // want for i in range(want)]
