"""What the recipes for text to image make of one pipeline, each at its own settings: a table in Markdown.

    python benchmarks/pipeline_recipes.py DIR [--recipes lcm-lora,mlcm,...] [--seed 0] [--threads 1]
                                              [--out runs/pipeline-recipes] [--set PATH=VALUE ...]

DIR is a diffusers folder that learned the shapes.  Each recipe distils it as `fewstep distill DIR --data shapes
--recipe NAME` does.  Of each student, at every number of steps that it is made for, and of the teacher: how many
parameters it trained, the seconds of training (+ those of stored pairs), network calls per image, the shares of
captions of which the checker finds everything right (see text.py), and the Fréchet distance to the data in the features
by which `fewstep evaluate` judges.  What is finished or measured is not repeated.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import fewstep as fs
from fewstep.cli.training import Given, Order, open_given
from fewstep.data.shapes import Shapes
from fewstep.files import CACHE, write_whole
from fewstep.interop import Encoded, Pipe, open_pipe
from fewstep.jobs.ask import resized
from fewstep.jobs.measure import judge_for, measure
from fewstep.jobs.origin import Origin, keep_origin
from fewstep.jobs.pipelines import Asked
from fewstep.jobs.pocket import share_right
from fewstep.recipes import assemble
from fewstep.sampling import FewStep

RECIPES = "lcm-lora,mlcm,swiftbrush,snoopi,instaflow,hipa,speedupnet,dmd2-text"
MEASURED = "shares.json"
HEAD = ("recipe", "trained parameters", "seconds", "calls")


@dataclass(frozen=True)
class Sheet:
    """Who judges: by how many captions of each kind, by how many samples, and against which data."""

    pipe: Pipe
    shapes: Shapes
    data: Encoded
    judge: Any
    asked: int
    samples: int

    def row(self, model: fs.Model, steps: int) -> dict[str, Any]:
        """Return what is measured of a model at one number of steps."""
        few = isinstance(model.sampler, FewStep)
        at = replace(model, sampler=replace(model.sampler, steps=(steps,) if few else steps))  # type: ignore[call-arg]
        shares = share_right(self.pipe, at, self.shapes, self.asked)
        (found,) = measure(at, self.judge, name="student", steps=[steps], samples=self.samples)
        return {"calls": at.calls(steps), "shares": shares, "frechet": found.frechet}

    def rows(self, model: fs.Model, folder: Path) -> list[dict[str, Any]]:
        """Return the rows of a model, the fewest calls first; those that are in its folder already are read."""
        path, about = folder / MEASURED, [self.asked, self.samples, fs.store.fingerprint(model)]
        if path.is_file() and (kept := json.loads(path.read_text(encoding="utf-8")))["about"] == about:
            return list(kept["rows"])
        rows = [self.row(model, steps) for steps in sorted(model.sampler.made_for)]
        write_whole(path, json.dumps({"about": about, "rows": rows}, indent=1).encode())
        return rows


def trained(given: Given, data: Encoded) -> int:
    """Return how many parameters of the student learn."""
    few = resized(data.batch(range(8)), tuple(data.shape), given.recipe.pairs)
    with torch.random.fork_rng([]):
        assembly = assemble(given.recipe, few, len(data.classes), given.teacher, 0, given.teacher)
    return sum(each.numel() for each in assembly.training.learners["student"].parameters.values())


def line(cells: Sequence[str], row: Mapping[str, Any]) -> str:
    """Return a line of the table."""
    shares = [f"{100 * share:.1f} %" for share in row["shares"].values()]
    return "| " + " | ".join([*cells, str(row["calls"]), *shares, f"{row['frechet']:.3f}"]) + " |"


def lines(name: str, sheet: Sheet, order: Order, place: str) -> list[str]:
    """Distil by a recipe, unless that is done, and return its lines."""
    given = open_given(order, Asked(place), None, None)
    count = trained(given, sheet.data)
    keep_origin(order.out, Origin(f"fewstep distill {place} --data shapes --recipe {name}", "shapes"))
    options = fs.Options(order.out, order.seed, False, given.order.settings)
    student = fs.fit(given.recipe, name, sheet.data, options, given.teacher)
    seconds = f"{student.facts['training seconds']:.0f}"
    pairs = float(student.facts.get("pair seconds", 0))
    cells = [f"`{name}`", f"{count:,}", f"{seconds} + {pairs:.0f}" if pairs else seconds]
    rows = sheet.rows(student, order.out)
    return [line(cells if i == 0 else [""] * 3, row) for i, row in enumerate(rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipeline", type=Path)
    parser.add_argument("--recipes", default=RECIPES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--asked", type=int, default=300, help="captions of each kind")
    parser.add_argument("--samples", type=int, default=1000, help="for the Frechet distance")
    parser.add_argument("--items", type=int, default=20_000, help="of the data")
    parser.add_argument("--set", action="append", default=[], help="a value of every recipe, to try it out quickly")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/pipeline-recipes"))
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    pipe = open_pipe(wanted.pipeline)
    shapes = Shapes(pipe.size[0], count=wanted.items)
    data = Encoded(shapes, pipe, CACHE)
    sheet = Sheet(pipe, shapes, data, judge_for(data), wanted.asked, wanted.samples)
    teacher = sheet.rows(pipe.model(), wanted.out / "teacher")
    titles = [*HEAD, *teacher[0]["shares"], "Fréchet distance"]
    print("| " + " | ".join(titles) + " |\n|---|" + "---:|" * (len(titles) - 1))
    print(line(["the teacher", "-", "-"], teacher[0]), flush=True)
    for name in wanted.recipes.split(","):
        order = Order(name, wanted.out / name, wanted.seed, wanted.set, quiet=True)
        try:
            print("\n".join(lines(name, sheet, order, str(wanted.pipeline))), flush=True)
        except fs.FewstepError as error:
            print(f"| `{name}` | failed: {' '.join(str(error).split())} |" + " |" * (len(titles) - 2), flush=True)


if __name__ == "__main__":
    main()
