"""How long the recipes train on this machine: seconds a batch, and for all of them.

    python benchmarks/budget.py [--data digits] [--recipes cd,ctm] [--batches 8] [--threads 2]

Times a few batches at the beginning, in the middle and near the end of every recipe, as what its terms cost changes
on the way; the looks at samples, which take about a second each, and the making of stored pairs are not counted.  The
teacher and the pairs are made in a moment, for networks cost the same whatever their weights are.
"""

import argparse
import tempfile
import time
from itertools import islice
from pathlib import Path

import torch
from accelerate import Accelerator

import fewstep as fs
from fewstep.data import Data, batches
from fewstep.jobs.listing import teacher_of
from fewstep.jobs.pairs import pairs_for
from fewstep.model import Model
from fewstep.recipes import Recipe, assemble, load_recipe, paper_names

PLACES = (0.02, 0.5, 0.9)  # of the training


def seconds_of(recipe: Recipe, data: Data, teacher: Model, count: int) -> float:
    """Return the seconds that all batches of a recipe take, without those of the recipe it begins with."""
    source = data
    if recipe.pairs is not None:
        with tempfile.TemporaryDirectory() as folder:
            labels = data.batch(range(len(data))).c
            source = pairs_for(recipe.pairs, teacher, labels, Path(folder), show=False)
            return _timed(recipe, data, source, teacher, count)
    return _timed(recipe, data, source, teacher, count)


def _timed(recipe: Recipe, data: Data, source: Data, teacher: Model, count: int) -> float:
    example = source.batch(range(64))
    given = teacher if recipe.needs_teacher else None
    training = assemble(recipe, example, len(data.classes), given, 0, given).training
    accelerator = Accelerator(cpu=True)
    training.prepare(accelerator)
    found = []
    for place in PLACES:
        training.step = int(place * training.steps)
        for learner in training.learners.values():
            learner.updates = int(max(training.step - learner.after, 0) / learner.every)
        stream = islice(batches(source, recipe.batch, seed=0, start=training.step), count + 2)
        for i, batch in enumerate(stream):
            began = time.perf_counter() if i == 2 else 0.0 if i < 2 else began
            for _ in fs.train(training, [batch], accelerator):
                pass
        found.append((time.perf_counter() - began) / count)
    return sum(found) / len(found) * recipe.steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--recipes", default="all")
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    data = fs.open_data(wanted.data)
    known = {name: load_recipe(name) for name in paper_names()}
    names = [name for name in known if wanted.data in known[name].tuned_on]
    names = names if wanted.recipes == "all" else wanted.recipes.split(",")
    small = ["pairs.count=64", "pairs.shard=64"]
    with tempfile.TemporaryDirectory() as folder:
        quick = fs.Options(Path(folder) / "teacher", settings=["steps=2", "looks=1", "judged=64"], show=False)
        teacher = fs.train_teacher(data, quick, teacher_of(wanted.data))
    print(f"{wanted.threads} threads, {wanted.data}")
    for name in names:
        recipe, total, said = load_recipe(name, small if known[name].pairs else []), 0.0, []
        while True:
            spent = seconds_of(recipe, data, teacher, wanted.batches)
            total += spent
            said.append(f"{1000 * spent / recipe.steps:.0f} ms x {recipe.steps:,}")
            if not recipe.begins:
                break
            first = load_recipe(recipe.begins)
            recipe = load_recipe(recipe.begins, small if first.pairs else [])
        print(f"{name:20} {total:6.0f} s   ({' + '.join(said)})", flush=True)


if __name__ == "__main__":
    main()
