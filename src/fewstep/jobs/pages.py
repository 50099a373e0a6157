"""What documents say of results: the page with all of them, and the short table for the README."""

from collections.abc import Mapping, Sequence
from textwrap import fill

from fewstep.evaluate.results import REAL, TEACHER, Result, best_of, full
from fewstep.jobs.listing import needs
from fewstep.recipes import Recipe

__all__ = ["by_recipe", "calls_of", "distance", "plot_of", "readme_table", "results_page"]

SHOWN = 10  # recipes in the short table
PAGE = """# Results

Written by `fewstep bench` from [results.json](results.json); do not edit. A line of that file is a recipe on a data
set at a number of network calls: mean and standard deviation (with n - 1) over seeds. All recipes of a data set
begin with one teacher. A model is judged on as many samples as there are real items (at most 10,000), of labels in the
proportions of the real data and seeds from 1,000,000 on; its checkpoint was chosen by the same distance on other seeds.
Recall, the share of real items that lie among the generated ones, is that of the number of calls with the best distance.
The floor is one half of the real data against the other, at half the samples, so biased upwards a little more.
Seconds are those of the training with its looks at samples, the stage before included; after a plus those in which the
teacher made stored pairs, once for all seeds and for every recipe that uses the same. They are seconds of the wall: a
machine with other work takes longer, and `python benchmarks/budget.py` times every recipe by itself.
Fréchet distances are of the features of a small network trained from a fixed seed: never compare them with others'.
"""

Grouped = Mapping[str, Sequence[Result]]


def results_page(results: Sequence[Result], recipes: Mapping[str, Recipe], remarks: Mapping[str, str]) -> str:
    """Return ``results.md``: a section per data set with its plot, its table and the remarks on its recipes."""
    parts = [PAGE]
    for data in dict.fromkeys(line.data for line in results):
        lines = [line for line in results if line.data == data]
        parts += [f"## {data}\n", f"{_wrapped(_about(lines, data))}\n"]
        if set(by_recipe(lines)) - {REAL, TEACHER}:
            parts.append(f"![Quality against calls, by family]({plot_of(data)})\n")
        parts.append(_full_table(by_recipe(lines), recipes))
        said = [f"- `{name}` {remarks[name]}" for name in by_recipe(lines) if name in remarks]
        parts += ["What falls short, and why:\n", "\n".join(said) + "\n"] if said else []
    return "\n".join(parts)


def readme_table(results: Sequence[Result], recipes: Mapping[str, Recipe]) -> str:
    """Return a table of the teacher and of recipes: the best of each family, then the next best of all, by family.

    Of the first data set only.
    """
    data = results[0].data
    lines = [line for line in results if line.data == data]
    grouped, calls = by_recipe(lines), calls_of(lines)
    head = ["recipe", "source", "from", *(f"{count} call{'s' if count > 1 else ''}" for count in calls), "training"]
    rows = [["the teacher, cut", "", "data", *_cells(grouped[TEACHER], calls), _seconds(grouped[TEACHER])]]
    for name in _best(grouped, recipes):
        about = [recipes[name].source, needs(recipes[name])] if name in recipes else ["-", "-"]
        rows.append([f"`{name}`", *about, *_cells(grouped[name], calls), _seconds(grouped[name])])
    known = len(set(grouped) - {REAL, TEACHER})
    shown = f"{len(rows) - 1} of {known} recipes: the best of each family, then the next best of all."
    if len(rows) - 1 == known:
        shown = "All recipes."
    return f"{_markdown(head, rows)}\n{_wrapped(f'{shown} {_about(lines, data)}')}\n"


def by_recipe(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Return the lines of each recipe, in their order."""
    grouped: dict[str, list[Result]] = {}
    for line in results:
        grouped.setdefault(line.recipe, []).append(line)
    return grouped


def calls_of(results: Sequence[Result]) -> list[int]:
    """Return the numbers of calls that students were measured at."""
    return sorted({line.calls for line in results if line.calls and line.recipe not in (REAL, TEACHER)})


def distance(line: Result) -> str:
    """Write mean and spread: ``0.0280 ± 0.002``."""
    return f"{line.frechet:#.3g}" + ("" if line.spread is None else f" ± {line.spread:.1g}")


def plot_of(data: str) -> str:
    """Return the name of the plot of a data set; digits are the ones that every document shows."""
    return "results.png" if data == "digits" else f"results-{data}.png"


def _about(lines: Sequence[Result], data: str) -> str:
    """Say what the lines were measured with, and what the teacher and real data get."""
    students = [line for line in lines if line.recipe not in (REAL, TEACHER)] or list(lines)
    machines = "; ".join(dict.fromkeys(line.hardware for line in students))
    commits = {commit for line in students if line.commit for commit in line.commit.split(", ")}
    seeds = sorted({line.seeds for line in students})
    floor = next(
        (f"; the floor, real data against itself, is {line.frechet:#.3g}" for line in lines if line.recipe == REAL), ""
    )
    teacher = full(lines)
    recall = f", with recall {teacher.recall:.2f}" if teacher.recall is not None else ""
    return (
        f"Fréchet distance on {data}, seeds per recipe: {' or '.join(map(str, seeds))}. The teacher at {teacher.calls} "
        f"calls gets {distance(teacher)}{recall}{floor}. Reproduce: `fewstep bench {data} --recipes all`. "
        f"Measured on: {machines}; at {', '.join(f'`{commit}`' for commit in sorted(commits)) or 'no recorded commit'}."
    )


def _full_table(grouped: Grouped, recipes: Mapping[str, Recipe]) -> str:
    """Return a row per recipe, by family, with how many times it beats the teacher at equal calls."""
    calls = calls_of([line for lines in grouped.values() for line in lines])
    cut = {line.calls: line.frechet for line in grouped.get(TEACHER, ())}
    head = ["recipe", "family", *(f"{count} call{'s' if count > 1 else ''}" for count in calls)]
    head += [
        "best / teacher",
        "recall",
        "updates",
        "seconds",
        "seeds",
        *(f"beats the teacher at {count} by" for count in calls),
    ]
    rows = [["teacher, cut", "", *_cells(grouped[TEACHER], calls), *_cost(()), *[""] * len(calls)]]
    for name in sorted(set(grouped) - {REAL, TEACHER}, key=lambda name: (_family(name, recipes), name)):
        lines = grouped[name]
        at = {line.calls: line.frechet for line in lines}
        beats = [f"{cut[count] / at[count]:.3g} x" if count in cut and count in at else "-" for count in calls]
        rows.append([f"`{name}`", _family(name, recipes), *_cells(lines, calls), *_cost(lines), *beats])
    return _markdown(head, rows)


def _cost(lines: Sequence[Result]) -> list[str]:
    """Write ratio and recall of the best, updates, seconds and seeds."""
    if not lines:
        return [""] * 5
    best, updates = best_of(lines), lines[0].updates
    said = ["-" if number is None else f"{number:.2f}" for number in (best.ratio_to_teacher, best.recall)]
    said.append("-" if updates is None else f"{updates:,}")
    return [*said, _seconds(lines).removesuffix(" s"), str(lines[0].seeds)]


def _cells(lines: Sequence[Result], calls: Sequence[int]) -> list[str]:
    known = {line.calls: distance(line) for line in lines}
    return [known.get(count, "-") for count in calls]


def _seconds(lines: Sequence[Result]) -> str:
    seconds, pairs = lines[0].train_seconds, lines[0].pair_seconds
    return "-" if seconds is None else f"{seconds:.0f}{f' + {pairs:.0f}' if pairs else ''} s"


def _family(name: str, recipes: Mapping[str, Recipe]) -> str:
    return recipes[name].family if name in recipes else "other"


def _best(grouped: Grouped, recipes: Mapping[str, Recipe]) -> list[str]:
    """Return the recipes of the short table, by family."""
    names = sorted(set(grouped) - {REAL, TEACHER}, key=lambda name: best_of(grouped[name]).frechet)
    families = [_family(name, recipes) for name in names]
    first = [name for i, name in enumerate(names) if families[i] not in families[:i]]
    chosen = [*first, *(name for name in names if name not in first)][:SHOWN]
    return sorted(chosen, key=lambda name: (_family(name, recipes), best_of(grouped[name]).frechet))


def _wrapped(text: str) -> str:
    return fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"
