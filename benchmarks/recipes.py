"""Run every recipe on the digits and write the table of results.

    python benchmarks/recipes.py [--out runs/recipes] [--only cd --only ect] [--threads 2]

One teacher (``edm``), every recipe from it with one seed, each judged at the steps it is made for on 1,797 samples.
Finished runs are kept, so an interrupted benchmark continues.  Writes ``docs/results.md`` and
``src/fewstep/recipes/measured.json``, from which ``fewstep recipes`` reads.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from fewstep import Digits, ManyStep, Model, Options, distill, evaluate, judge_for, load_recipe, train_teacher
from fewstep.evaluate import Judge, Row, markdown
from fewstep.recipes import paper_names
from fewstep.solvers import DDIM
from fewstep.versions import hardware, versions

ROOT = Path(__file__).resolve().parent.parent
CUTS = (1, 2, 4)


def measured(judge: Judge, model: Model, name: str) -> list[Row]:
    return evaluate(model, judge, name=name, steps=model.sampler.made_for)


def cut(teacher: Model, calls: int) -> Model:
    return replace(teacher, sampler=ManyStep(teacher.sampler.schedule, DDIM(), calls))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, default=Path("runs/recipes"))
    options.add_argument("--only", action="append", default=[])
    options.add_argument("--threads", type=int, default=2)
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    data = Digits()
    judge = judge_for(data)
    teacher = train_teacher(data, Options(chosen.out / "edm"))
    rows = [judge.floor(), *measured(judge, teacher, "teacher (edm)")]
    for calls in CUTS:
        rows += evaluate(cut(teacher, calls), judge, name="teacher cut", steps=[calls])
    models = {"edm": (teacher, rows[1:])}
    for name in chosen.only or [n for n in paper_names() if n != "edm"]:
        recipe = load_recipe(name)
        out = Options(chosen.out / name)
        student = distill(teacher, data, out, name) if recipe.needs_teacher else train_teacher(data, out, name)
        models[name] = (student, measured(judge, student, name))
        rows += models[name][1]
    write(rows, models)


def write(rows: list[Row], models: dict[str, tuple[Model, list[Row]]]) -> None:
    facts = {name: model.facts for name, (model, _) in models.items()}
    table = {
        name: {
            "frechet": {str(row.calls): round(row.frechet or 0.0, 4) for row in found if row.calls is not None},
            "recall": {str(row.calls): round(row.recall or 0.0, 3) for row in found if row.calls is not None},
            "accuracy": {str(row.calls): round(row.accuracy or 0.0, 3) for row in found if row.calls is not None},
            "seconds": facts[name]["training seconds"],
        }
        for name, (_, found) in models.items()
    }
    (ROOT / "src/fewstep/recipes/measured.json").write_text(json.dumps(table, indent=1) + "\n")
    seconds = "\n".join(
        f"| {name} | {fact['trained steps']:,} | {fact['training seconds']} |" for name, fact in facts.items()
    )
    (ROOT / "docs/measured.md").write_text(
        "# Measured on the digits\n\nWritten by `python benchmarks/recipes.py`; one seed.\n\n"
        f"Hardware: {hardware()}. Versions: {', '.join(f'{k} {v}' for k, v in versions().items())}.\n\n"
        f"{markdown(rows)}\n\n| recipe | batches | training seconds |\n|---|---|---|\n{seconds}\n"
    )


if __name__ == "__main__":
    main()
