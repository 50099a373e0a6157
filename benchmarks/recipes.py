"""Run every recipe on the digits and write the table of results.

    python benchmarks/recipes.py [--out runs/recipes] [--only cd --only ect] [--threads 2]

One teacher (``edm``), every recipe from it with one seed, each judged at the steps it is made for on 1,797 samples.
Finished runs are kept, so an interrupted benchmark continues.  Writes ``docs/results.md`` and
``src/fewstep/recipes/measured.json``, from which ``fewstep recipes`` reads.
"""

import argparse
import json
from pathlib import Path

import torch

from fewstep import Digits, Model, Options, distill, judge_for, load_recipe, measure, train_teacher
from fewstep.evaluate import Judge, Row, markdown
from fewstep.jobs.demo import CUTS, cut
from fewstep.recipes import paper_names
from fewstep.versions import hardware, versions

ROOT = Path(__file__).resolve().parent.parent
TEXT = """# Measured on the digits

Written by `python benchmarks/recipes.py`: one teacher (`edm`), every recipe once with seed 0, each judged at the steps
it is made for. Hardware: {hardware}. Versions: {versions}.

All models are judged on 1,797 samples, of labels in the proportions of the real digits and seeds from 1,000,000 on,
against the 1,797 digits. The row `real` is the floor: one half of the digits against the other, at half the samples, so
biased upwards a little more. Checkpoints are chosen by the same distance on other seeds. A distance moves by about a
tenth from one set of seeds to the next.
"""


def measured(judge: Judge, model: Model, name: str) -> list[Row]:
    return measure(model, judge, name=name, steps=model.sampler.made_for)


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
        rows += measure(cut(teacher, calls), judge, name="teacher cut", steps=[calls])
    models = {"edm": (teacher, rows[1:])}
    for name in chosen.only or [n for n in paper_names() if n != "edm"]:
        recipe = load_recipe(name)
        out = Options(chosen.out / name)
        student = distill(teacher, data, out, name) if recipe.needs_teacher else train_teacher(data, out, name)
        models[name] = (student, measured(judge, student, name))
        rows += models[name][1]
    write(rows, models)


def write(rows: list[Row], models: dict[str, tuple[Model, list[Row]]]) -> None:
    teacher = next(row.frechet for row in models["edm"][1])
    table = {name: entry(model, found) | {"teacher": teacher} for name, (model, found) in models.items()}
    (ROOT / "src/fewstep/recipes/measured.json").write_text(json.dumps(table, indent=1) + "\n")
    made = ", ".join(f"{name} {version}" for name, version in versions().items())
    runs = [f"| {n} | {m.facts['trained steps']:,} | {m.facts['training seconds']} |" for n, (m, _) in models.items()]
    parts = [
        TEXT.format(hardware=hardware(), versions=made),
        markdown(rows),
        "",
        "| recipe | batches | seconds |",
        "|---|---|---|",
        *runs,
    ]
    results = ROOT / "docs/results.md"
    results.parent.mkdir(exist_ok=True)
    results.write_text("\n".join(parts) + "\n")


def entry(model: Model, rows: list[Row]) -> dict[str, object]:
    """Return what `fewstep recipes` shows of one recipe."""
    by_calls = {str(row.calls): row for row in rows}
    return {
        "frechet": {calls: round(row.frechet or 0.0, 4) for calls, row in by_calls.items()},
        "recall": {calls: round(row.recall or 0.0, 3) for calls, row in by_calls.items()},
        "accuracy": {calls: round(row.accuracy or 0.0, 3) for calls, row in by_calls.items()},
        "seconds": model.facts["training seconds"],
    }


if __name__ == "__main__":
    main()
