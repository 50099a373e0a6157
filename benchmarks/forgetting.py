"""Does a student forget one class and keep all others?  Distils one that forgets and one that does not, and compares.

    python benchmarks/forgetting.py [--teacher runs/teacher] [--recipe sfd] [--beside sid] [--out runs/forgetting]

Prints (a) the share of the samples asked for as the forgotten class that the judge's classifier takes for it, to be
below 2 %, and (b) the Frechet distance of the samples of all other classes to real ones, to be at most 10 % above that
of the student beside it.  Both are asked for the same classes with the same seeds.  A teacher is trained unless one is
given; runs in the folder that are finished are loaded, others continue.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--recipe", default="sfd")
    parser.add_argument("--beside", default="sid")
    parser.add_argument("--out", type=Path, default=Path("runs/forgetting"))
    parser.add_argument("--samples", type=int, default=1000, help="of each forgotten class")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], help="path=value, for both recipes")
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    data = fs.open_data(wanted.data)
    if wanted.teacher is None:
        teacher = fs.train_teacher(data, fs.Options(wanted.out / "teacher"), teacher_of(wanted.data))
    else:
        teacher = fs.load_model(wanted.teacher)
    students = {}
    for name in (wanted.beside, wanted.recipe):
        options = fs.Options(wanted.out / f"{name}-{wanted.seed}", seed=wanted.seed, settings=wanted.set)
        students[name] = fs.distill(teacher, data, options, name)
    judge, forgotten = fs.judge_for(data), forgotten_by(wanted.recipe)
    rest = judge.without(forgotten)
    kept = {name: fs.measure(student, rest, name=name)[0].frechet or 0 for name, student in students.items()}
    left = {name: still_given(student, judge, forgotten, wanted.samples) for name, student in students.items()}
    for name in students:
        print(f"{name:12} forgotten class still given {left[name]:6.1%}   Frechet of the others {kept[name]:.4f}")
    ratio = kept[wanted.recipe] / kept[wanted.beside]
    print(f"(a) {left[wanted.recipe]:.2%}, to be below {MOST_LEFT:.0%}: {left[wanted.recipe] < MOST_LEFT}")
    print(f"(b) {ratio:.3f} times the distance, to be at most {MOST_WORSE}: {ratio <= MOST_WORSE}")


if __name__ == "__main__":
    main()
