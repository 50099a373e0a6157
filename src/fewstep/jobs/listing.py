"""Which recipes there are, and what a recipe says in words."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from math import ceil
from typing import Any

from fewstep.errors import RecipeError, nearest
from fewstep.recipes import LearnerSpec, Recipe, load_recipe, paper_names
from fewstep.scalars import Scalar
from fewstep.terms import Term

__all__ = ["Listed", "check_parts", "describe", "listing"]

SHOWN = 8  # times of a path that are written out; longer lists are cut in the middle


@dataclass(frozen=True)
class Listed:
    """One line of the list of recipes; ``measured`` is a dash where nobody has measured yet."""

    name: str
    purpose: str
    source: str
    teacher: bool
    measured: str


def listing() -> list[Listed]:
    """Return the recipes that come with the package, those without a teacher first."""
    results = _results()
    lines = [_line(name, load_recipe(name), results.get(name, {})) for name in paper_names()]
    return sorted(lines, key=lambda line: (line.teacher, line.name))


def describe(recipe: Recipe) -> dict[str, str]:
    """Say what a recipe does, one line per topic; every default is filled in."""
    words = {
        "title": recipe.title,
        "source": recipe.source,
        "purpose": recipe.purpose,
        "training": f"{recipe.steps:,} steps of batch {recipe.batch}; looks at samples: {recipe.looks}",
    }
    words |= {f"learner {name}": _learner(spec, recipe.steps) for name, spec in recipe.learners.items()}
    words["made for"] = f"{', '.join(map(str, recipe.sampler.made_for))} steps ({type(recipe.sampler).__name__})"
    for count in recipe.sampler.made_for:
        words[f"times, {count} step{'s' if count > 1 else ''}"] = _times(recipe, count)
    return words


def check_parts(recipe: Recipe, name: str) -> None:
    """Raise ``RecipeError`` when a term asks for a network that nobody has, or the schedule lacks a number of steps."""
    known = {*recipe.frozen, *recipe.learners}
    for learner, spec in recipe.learners.items():
        for term in (term for _, term in spec.objective.items()):
            for wanted in sorted(set(term.networks()) - known):
                raise RecipeError(
                    f"In the recipe {name}, {type(term).__name__} of the learner {learner!r} asks for the network "
                    f"{wanted!r}; {nearest(wanted, known)} Name one of these, or add it to 'learners' or 'frozen'."
                )
    for count in recipe.sampler.made_for:
        try:
            recipe.sampler.schedule.steps(count)
        except RecipeError as error:
            raise RecipeError(f"In the recipe {name}, the sampler is made for {count} steps: {error}") from error


def _results() -> Mapping[str, Any]:
    path = files("fewstep.recipes") / "measured.json"
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _line(name: str, recipe: Recipe, result: Mapping[str, Any]) -> Listed:
    return Listed(name, recipe.purpose, recipe.source, recipe.needs_teacher, _measured(result))


def _measured(result: Mapping[str, Any]) -> str:
    """Write one entry of measured.json: Frechet distances by number of steps, the teacher's, and seconds."""
    parts = [f"{value:.3g} at {steps}" for steps, value in result.get("frechet", {}).items()]
    parts += [f"teacher {result['teacher']:.3g}"] if result.get("teacher") is not None else []
    parts += [f"{result['seconds']:.0f} s"] if result.get("seconds") is not None else []
    return ", ".join(parts) or "-"


def _learner(spec: LearnerSpec, steps: int) -> str:
    begun = "from the teacher" if spec.from_ else "from scratch"
    updates = max(ceil((steps - spec.after) / spec.every), 1)
    pace = f"one turn in {spec.every}" if spec.every > 1 else "every step"
    terms = " + ".join(_term(weight, term) for weight, term in spec.objective.parts)
    return f"{terms}; {updates:,} updates ({pace}); {type(spec.optimiser).__name__}; {begun}"


def _term(weight: Scalar, term: Term) -> str:
    if isinstance(weight, int | float):
        return type(term).__name__ if weight == 1 else f"{weight:g} {type(term).__name__}"
    return f"{type(weight).__name__} x {type(term).__name__}"


def _times(recipe: Recipe, count: int) -> str:
    times = [f"{time:.4g}" for time in recipe.sampler.schedule.steps(count).tolist()]
    return " > ".join(times if len(times) <= SHOWN else [*times[: SHOWN // 2], "...", *times[-2:]])
