"""Does a student forget one class and keep all others?  Distils one that forgets and one that does not, and compares.

    python benchmarks/forgetting.py [--teacher runs/teacher] [--recipe sfd] [--beside sid] [--seeds 3]

Prints (a) the share of the samples asked for as the forgotten class that the judge's classifier takes for it, to be
below 2 %, and (b) the Frechet distance of the samples of all other classes to real ones, to be at most 10 % above that
of the student beside it.  Both are asked for the same classes with the same seeds; with several seeds of training the
means and standard deviations are printed.  A teacher is trained unless one is given; runs in the folder that are
finished are loaded, others continue.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

import torch

import fewstep as fs
from fewstep.evaluate import Judge
from fewstep.guidance import Override
from fewstep.jobs.listing import teacher_of
from fewstep.jobs.measure import FIRST_SEED
from fewstep.model import Model
from fewstep.recipes import load_recipe

MOST_LEFT, MOST_WORSE = 0.02, 1.1


def forgotten_by(recipe: str) -> tuple[int, ...]:
    """Return the labels that the teacher of a recipe overrides."""
    rules = load_recipe(recipe).frozen["teacher"].guidance
    return tuple(label for rule in rules if isinstance(rule, Override) for label in rule.forgotten)


def still_given(model: Model, judge: Judge, classes: Sequence[int], samples: int) -> float:
    """Return the share of the samples asked for as forgotten classes that are taken for what was asked."""
    labels = torch.tensor(classes).repeat_interleave(samples)
    images = model.sample(range(FIRST_SEED, FIRST_SEED + len(labels)), labels)
    share = judge.judge(images, labels, model="", steps=None, calls=None).accuracy
    if share is None:
        raise SystemExit("the data have no classes, so there is nothing to forget")
    return share


def spread(numbers: Sequence[float], form: str) -> str:
    """Write a mean, and the standard deviation where there are several numbers."""
    return f"{mean(numbers):{form}}" + (f" +- {stdev(numbers):{form}}" if len(numbers) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--recipe", default="sfd")
    parser.add_argument("--beside", default="sid")
    parser.add_argument("--out", type=Path, default=Path("runs/forgetting"))
    parser.add_argument("--samples", type=int, default=1000, help="of each forgotten class")
    parser.add_argument("--seeds", type=int, default=1, help="of training, from 0 on")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], help="path=value, for both recipes")
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    data = fs.open_data(wanted.data)
    if wanted.teacher is None:
        teacher = fs.train_teacher(data, fs.Options(wanted.out / "teacher"), teacher_of(wanted.data))
    else:
        teacher = fs.load_model(wanted.teacher)
    judge, forgotten = fs.judge_for(data), forgotten_by(wanted.recipe)
    rest, left, kept = judge.without(forgotten), dict[str, list[float]](), dict[str, list[float]]()
    for name in (wanted.beside, wanted.recipe):
        for seed in range(wanted.seeds):
            options = fs.Options(wanted.out / f"{name}-{seed}", seed=seed, settings=wanted.set)
            student = fs.distill(teacher, data, options, name)
            left.setdefault(name, []).append(still_given(student, judge, forgotten, wanted.samples))
            kept.setdefault(name, []).append(fs.measure(student, rest, name=name)[0].frechet or 0)
        others = spread(kept[name], ".4f")
        print(f"{name:12} forgotten class still given {spread(left[name], '6.1%')}   Frechet of the others {others}")
    share, ratio = mean(left[wanted.recipe]), mean(kept[wanted.recipe]) / mean(kept[wanted.beside])
    print(f"(a) {share:.2%}, to be below {MOST_LEFT:.0%}: {share < MOST_LEFT}")
    print(f"(b) {ratio:.3f} times the distance, to be at most {MOST_WORSE}: {ratio <= MOST_WORSE}")


if __name__ == "__main__":
    main()
