"""What was planned, in words: a table of the networks, lines for memory and time, and what to change."""

from collections.abc import Mapping, Sequence

import torch
from rich.table import Table
from torch import nn

from fewstep.jobs.advise import Change
from fewstep.jobs.memory import PAIRS, Memory
from fewstep.jobs.plan import Plan

__all__ = ["change_words", "memory_words", "networks_table", "parts_words", "time_words"]

MB = 1e6


def networks_table(memory: Memory) -> Table:
    """Return what every network holds."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    titles = ("network", "parameters", "learning", "weights", "averages", "gradients", "optimiser", "MB together")
    for title in titles:
        table.add_column(title, justify="left" if title == "network" else "right")
    for each in memory.held:
        averages = [f"{name} {size / MB:,.1f}" for name, size in each.averages.items()]
        sizes = [each.weights, each.gradients, each.optimiser, each.total]
        weights, gradients, optimiser, total = (f"{size / MB:,.1f}" for size in sizes)
        cells = [f"{each.parameters:,}", f"{each.learning:,}", weights, ", ".join(averages) or "-", gradients]
        table.add_row(each.name, *cells, optimiser, total)
    return table


def memory_words(memory: Memory) -> dict[str, str]:
    """Return the peak, what it consists of, and whether it fits."""
    what = memory.dearest
    parts = f"{memory.base / MB:,.0f} the process, {memory.kept / MB:,.0f} networks"
    parts += f", {memory.beside[what].total / MB:,.0f} for {what}"
    if memory.before is not None and memory.early:
        parts = f"{memory.base / MB:,.0f} the process, {memory.before.total / MB:,.0f} for {PAIRS}, with the teacher"
    elif memory.devices > 1:
        parts += f", {memory.buckets / MB:,.0f} for the exchange of gradients"
    fits = "fits" if memory.fits else "does not fit"
    return {
        "peak memory": f"{memory.peak / MB:,.0f} MB on each device ({parts})",
        "verdict": f"it {fits} in {memory.there / MB:,.0f} MB",
    }


def parts_words(parts: Mapping[str, nn.Module]) -> dict[str, str]:
    """Say what of a pipeline and its data is counted, and what is not."""
    beside = {name: part for name, part in parts.items() if name != "controlnet"}
    size = sum(each.nbytes for part in beside.values() for each in part.parameters())
    where = "they stay in the memory of the CPU" if torch.cuda.is_available() else "they are part of the process"
    counted = f"{', '.join(beside)} ({size / MB:,.0f} MB) do not learn, {where}" if beside else "nothing"
    missing = (
        "latents and prompts of the data, encoded once before and kept in the memory of the CPU; what a judge holds"
    )
    return {"beside": counted, "not counted": missing}


def time_words(found: Plan) -> dict[str, str]:
    """Return the calls, the hours, and what they rest on."""
    recipe, pace, devices, words = found.recipe, found.pace, found.memory.devices, dict[str, str]()
    for learner, counts in pace.calls.items():
        each = ", ".join(f"{name} {count:.3g}" for name, count in counts.items())
        words[f"calls, {learner}"] = f"{sum(counts.values()):.3g} per item of an update: {each}"
    spent = ", ".join(f"{what} {seconds / 3600:.3g}" for what, seconds in pace.spent.items())
    words["hours"] = f"{pace.hours:.3g} ({spent}): {recipe.steps:,} batches of {recipe.batch}"
    words["hours"] += f", {pace.seconds:.3g} s each" + (f", on each of {devices}" if devices > 1 else "")
    if devices > 1:
        words["devices"] = (
            f"{devices} see {devices * recipe.batch} items in a batch; the same items as on one are seen with "
            f"--set steps={max(recipe.steps // devices, 1)}, in {pace.hours / devices:.3g} hours and the time of the "
            "exchange"
        )
    batches = f"{pace.tried} batches of {pace.size} items were tried"
    extended = "; larger ones would not have fitted, memory and time are extended from there"
    words["measured"] = batches + (extended if pace.size < recipe.batch else "")
    return words


def change_words(memory: Memory, found: Sequence[Change]) -> dict[str, str]:
    """Return a line for each change, and one where none of them is enough."""
    words = {
        f"change {i}": f"{(memory.peak - each.memory.peak) / MB:,.0f} MB less"
        f"{', then it fits' if each.memory.fits else ''}: {each.typed}: {each.words}"
        for i, each in enumerate(found, start=1)
    }
    if any(each.memory.fits for each in found):
        return words
    alone = (
        "none of these alone is enough; plan again with several of them" if found else "nothing that can be set helps"
    )
    return words | {"otherwise": f"{alone}, or take a machine with more memory"}
