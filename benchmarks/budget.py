"""How long the recipes train on this machine: seconds a batch, and for all of them.

    python benchmarks/budget.py [--data digits] [--recipes cd,ctm] [--seconds 5] [--threads 2]

Times a few batches at several places of every training, as what its terms cost changes on the way; the looks at
samples and the making of stored pairs are not counted.  The teacher and the pairs are made in a moment, for networks
cost the same whatever their weights are.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from accelerate import Accelerator

import fewstep as fs
from fewstep.data import Data
from fewstep.jobs.calibrate import Calls, timed
from fewstep.jobs.listing import teacher_of
from fewstep.jobs.pairs import pairs_for
from fewstep.model import Model
from fewstep.recipes import Recipe, assemble, load_recipe, paper_names

FEW_PAIRS = ("pairs.count=64", "pairs.shard=64")


def load(name: str) -> Recipe:
    """Return a recipe, with few pairs if it wants any."""
    return load_recipe(name, FEW_PAIRS if load_recipe(name).pairs else ())


def seconds_of(recipe: Recipe, data: Data, teacher: Model, seconds: float) -> float:
    """Return the seconds that a batch takes, on average over the training."""
    with tempfile.TemporaryDirectory() as folder:
        labels = data.batch(range(len(data))).c
        source = data if recipe.pairs is None else pairs_for(recipe.pairs, teacher, labels, Path(folder), show=False)
        batch = source.batch([i % len(source) for i in range(recipe.batch)])
    given = teacher if recipe.needs_teacher else None
    training = assemble(recipe, batch, len(data.classes), given, 0, given).training
    accelerator = Accelerator(cpu=True)
    training.prepare(accelerator)
    return timed(training, batch, accelerator, Calls(), seconds)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--recipes", default="all")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=2)
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    data = fs.open_data(wanted.data)
    names = [name for name in paper_names() if wanted.data in load_recipe(name).tuned_on]
    names = names if wanted.recipes == "all" else wanted.recipes.split(",")
    with tempfile.TemporaryDirectory() as folder:
        quick = fs.Options(Path(folder) / "teacher", settings=["steps=2", "looks=1", "judged=64"], show=False)
        teacher = fs.train_teacher(data, quick, teacher_of(wanted.data))
    print(f"{wanted.threads} threads, {wanted.data}")
    for name in names:
        stages = [load(name)]
        while stages[-1].begins:
            stages.append(load(stages[-1].begins))
        each = [(seconds_of(stage, data, teacher, wanted.seconds), stage.steps) for stage in stages]
        said = " + ".join(f"{1000 * seconds:.0f} ms x {steps:,}" for seconds, steps in each)
        print(f"{name:20} {sum(seconds * steps for seconds, steps in each):6.0f} s   ({said})", flush=True)


if __name__ == "__main__":
    main()
