"""``fewstep plan``: memory, calls and hours of a distillation, before it."""

import re
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from fewstep.cli.training import Order, few_step_recipe
from fewstep.cli.words import cache_folder, say, wide_console
from fewstep.errors import DataError
from fewstep.jobs import judge_for
from fewstep.jobs.origin import data_for
from fewstep.jobs.plan import MB, Ask, Plan, advice, plan, resized
from fewstep.model import Model
from fewstep.store import load_model

__all__ = ["Machine", "print_plan", "shape_of"]

EXAMPLES = 64  # items of the data that are looked at


@dataclass(frozen=True)
class Machine:
    """What to plan for: so many devices, each with so many GB (None: what this one has)."""

    devices: int = 1
    memory: float | None = None


def print_plan(order: Order, folder: Path, steps: int | None, resolution: str | None, machine: Machine) -> None:
    """Plan a distillation and print what came out."""
    teacher = load_model(folder)
    recipe = few_step_recipe(order, steps)
    data = data_for(teacher, folder)
    count = min(EXAMPLES, len(data))
    example = data.batch([i * len(data) // count for i in range(count)])
    shape = shape_of(teacher, resolution)
    judge = judge_for(data, cache=cache_folder()) if shape == teacher.shape else None
    memory = None if machine.memory is None else machine.memory * 1000 * MB
    example = resized(example, shape, recipe.pairs)
    found = plan(Ask(recipe, teacher, example, len(data), judge, machine.devices, memory))
    wide_console().print(_table(found))
    say({"recipe": order.recipe} | _words(found))
    if recipe.begins:
        say({"before": f"{order.recipe} begins with {recipe.begins}, whose own hours are not in this: plan it too"})
    if not found.fits:
        say({f"change {i}": text for i, text in enumerate(advice(found), start=1)})


def shape_of(teacher: Model, resolution: str | None) -> tuple[int, ...]:
    """Return the shape of an item at a resolution, ``WxH``; that of the teacher's without one."""
    if resolution is None:
        return teacher.shape
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", resolution)
    if found is None or len(teacher.shape) != 3:
        raise DataError(
            f"--resolution is {resolution!r}, for a teacher of items of {'x'.join(map(str, teacher.shape))}; accepted "
            "is WIDTHxHEIGHT in pixels, such as 64x64, for a teacher of images. Mend it, or leave it out."
        )
    return (teacher.shape[0], int(found[2]), int(found[1]))


def _table(found: Plan) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    titles = ("network", "parameters", "learning", "weights", "averages", "gradients", "optimiser", "MB together")
    for title in titles:
        table.add_column(title, justify="left" if title == "network" else "right")
    for each in found.held:
        averages = [f"{name} {size / MB:,.1f}" for name, size in each.averages.items()]
        sizes = [each.weights, each.gradients, each.optimiser, each.total]
        weights, gradients, optimiser, total = (f"{size / MB:,.1f}" for size in sizes)
        cells = [f"{each.parameters:,}", f"{each.learning:,}", weights, ", ".join(averages) or "-", gradients]
        table.add_row(each.name, *cells, optimiser, total)
    return table


def _words(found: Plan) -> dict[str, str]:
    most = max(found.turns, found.looks)
    what = "updates" if found.turns >= found.looks else "looks at samples"
    parts = f"{found.base / MB:,.0f} the process, {found.kept / MB:,.0f} networks, {most / MB:,.0f} for {what}"
    if found.devices > 1:
        parts += f", {found.buckets / MB:,.0f} for the exchange of gradients"
    fits = "fits" if found.fits else "does not fit"
    words = {
        "peak memory": f"{found.peak / MB:,.0f} MB on each device ({parts})",
        "verdict": f"it {fits} in {found.memory / MB:,.0f} MB",
    }
    for learner, counts in found.calls.items():
        each = ", ".join(f"{name} {count:.3g}" for name, count in counts.items())
        words[f"calls, {learner}"] = f"{sum(counts.values()):.3g} per item of an update: {each}"
    spent = ", ".join(f"{what} {seconds / 3600:.3g}" for what, seconds in found.spent.items())
    words["hours"] = f"{found.hours:.3g} ({spent}): {found.recipe.steps:,} batches of {found.recipe.batch}"
    words["hours"] += f", {found.seconds:.3g} s each" + (f", on each of {found.devices}" if found.devices > 1 else "")
    if found.devices > 1:
        words["devices"] = (
            f"{found.devices} see {found.devices * found.recipe.batch} items in a batch; the same items as on one are "
            f"seen with --set steps={max(found.recipe.steps // found.devices, 1)}, in {found.hours / found.devices:.3g}"
            " hours and the time of the exchange"
        )
    batches = f"{found.tried} batches of {found.size} items were tried"
    extended = "; larger ones would not have fitted, memory and time are extended from there"
    words["measured"] = batches + (extended if found.size < found.recipe.batch else "")
    return words
