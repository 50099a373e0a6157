"""Which recipe to choose: advice by situation, with the numbers that were measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from fewstep.errors import DataError
from fewstep.evaluate.results import TEACHER, Result, best_of
from fewstep.jobs.pages import distance
from fewstep.recipes import Recipe, is_given_teacher

__all__ = ["Advice", "advice_page", "read_advice"]

PAGE = """# Which recipe to choose

Written by `fewstep bench` from [choose.yaml](choose.yaml) and [results.json](results.json); do not edit. The numbers
are Fréchet distances; lower is better, and [results.md](results.md) says how they were measured.
"""


@dataclass(frozen=True)
class Advice:
    """A situation, and the recipes for it with the sentence why, the best one first.

    ``at``: put them in the order of their measured distance at so many calls.  ``more``: a line below the command.
    """

    when: str
    recipes: Mapping[str, str]
    at: int | None = None
    more: str = ""


def read_advice(path: Path) -> list[Advice]:
    """Read ``choose.yaml``; nothing when there is no such file.  Raises ``DataError`` when it is anything else."""
    if not path.is_file():
        return []
    try:
        return [Advice(**entry) for entry in YAML(typ="safe").load(path)]
    except (YAMLError, TypeError) as error:
        raise DataError(f"{path} is no list of 'when', 'recipes', 'at' and 'more': {error}. Mend it.") from error


def advice_page(advice: Sequence[Advice], results: Sequence[Result], recipes: Mapping[str, Recipe]) -> str:
    """Return ``choose.md``; recipes that were not measured are passed over, and a situation that has none left."""
    parts, known = [PAGE], {line.recipe for line in results} & set(recipes)
    for one in advice:
        names = _order(one, results, [name for name in one.recipes if name in known])
        if names:
            best = names[0]
            command = f"```\n{_command(best, recipes[best])}\n{one.more + chr(10) if one.more else ''}```\n"
            parts += [f"## {one.when}\n", f"`{best}`: {one.recipes[best]} {_measured(best, results)}\n", command]
            others = [f"- or `{name}`: {one.recipes[name]} {_measured(name, results)}" for name in names[1:]]
            parts += ["\n".join(others) + "\n"] if others else []
    return "\n".join(parts)


def _order(one: Advice, results: Sequence[Result], names: list[str]) -> list[str]:
    """Return the names with those that were measured at ``at`` calls first, the best one at the head."""
    if one.at is None:
        return names
    at = {line.recipe: line.frechet for line in results if line.calls == one.at}
    return sorted(names, key=lambda name: at.get(name, float("inf")))


def _command(name: str, recipe: Recipe) -> str:
    """Return the command, on the first data set that the recipe is made for."""
    if is_given_teacher(recipe):
        return f"fewstep distill runs/teacher --recipe {name} --out runs/student"
    return f"fewstep train --data {recipe.tuned_on[0]} --recipe {name} --out runs/student"


def _measured(name: str, results: Sequence[Result]) -> str:
    """Say how good it is in one call and at its best, beside the teacher, and how long it took."""
    lines = [line for line in results if line.recipe == name]
    lines = [line for line in lines if line.data == lines[0].data]
    shown = {line.calls: line for line in (lines[0], best_of(lines))}
    said = " and ".join(f"{distance(line)} at {calls} call{'s' if calls != 1 else ''}" for calls, line in shown.items())
    teacher = max(
        (line for line in results if line.recipe == TEACHER and line.data == lines[0].data),
        key=lambda line: line.calls or 0,
    )
    seconds = "" if lines[0].train_seconds is None else f", after {lines[0].train_seconds:.0f} s of training"
    return f"On {lines[0].data}: {said}{seconds}; the teacher has {distance(teacher)} at {teacher.calls} calls."
