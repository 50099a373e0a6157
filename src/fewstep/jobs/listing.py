"""Which recipes there are, and what a recipe says in words."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from typing import Any, cast

from fewstep.endpoints import Endpoint
from fewstep.errors import RecipeError, nearest
from fewstep.recipes import LearnerSpec, Recipe, is_given_teacher, load_recipe, paper_names
from fewstep.scalars import Scalar
from fewstep.terms import Bootstrap, Term

__all__ = ["Listed", "check_parts", "describe", "listing", "needs", "reach_of", "teacher_of"]

SHOWN = 8  # times of a path that are written out; longer lists are cut in the middle


@dataclass(frozen=True)
class Listed:
    """One line of the list of recipes.

    ``reach`` says where the student can jump to ("0", "segment" or "any"; a dash for one that is not asked);
    ``frechet`` are measured distances by network calls, ``best`` the calls with the lowest one, ``seconds`` those of
    the training on ``data``; None or empty where nobody has measured yet.
    """

    name: str
    family: str
    purpose: str
    reach: str
    needs: str
    data: str
    best: int | None
    frechet: Mapping[int, float]
    seconds: float | None


def listing(family: str = "") -> list[Listed]:
    """Return the recipes that come with the package by family, the teachers first; of one family if it is named.

    Raises ``RecipeError`` for a family that there is not.
    """
    results = _results()
    lines = [_line(name, load_recipe(name), results) for name in paper_names()]
    families = sorted({line.family for line in lines})
    if family and family not in families:
        raise RecipeError(f"There is no family {family!r} of recipes; {nearest(family, families)}")
    chosen = [line for line in lines if family in ("", line.family)]
    return sorted(chosen, key=lambda line: (line.family != "teacher", line.family, line.name))


def needs(recipe: Recipe) -> str:
    """Say what must be there: a teacher, data, pairs (made by itself), another recipe's result, other data than
    digits."""
    parts = ["teacher"] if is_given_teacher(recipe) else []
    parts += ["pairs"] if recipe.pairs else ["data"] if recipe.data else []
    parts += [f"{recipe.begins} first"] if recipe.begins else []
    parts += [] if "digits" in recipe.tuned_on else [" or ".join(recipe.tuned_on)]
    return ", ".join(parts)


def reach_of(recipe: Recipe) -> str:
    """Return how far the student's terms let it jump: the widest ``reach`` of their endpoints, a dash without any."""
    terms = [term for _, term in recipe.learners["student"].objective.items()]
    parts = [getattr(term, field.name) for term in terms for field in fields(cast(Any, term))]
    found = {part.reach for part in parts if isinstance(part, Endpoint)}
    if recipe.learners["student"].second_time and any(isinstance(term, Bootstrap) for term in terms):
        found.add("any")  # from the noise on
    return next((reach for reach in ("any", "segment", "0") if reach in found), "-")


def teacher_of(data: str) -> str:
    """Return the recipe of the teacher for data: ``edm`` where its numbers fit, else the first of family teacher.

    Those that another one begins with are but half of it.
    """
    known = {name: load_recipe(name) for name in paper_names()}
    teachers = {name: recipe for name, recipe in known.items() if recipe.family == "teacher"}
    halves = {recipe.begins for recipe in teachers.values()}
    made = {name: recipe for name, recipe in teachers.items() if not is_given_teacher(recipe) and name not in halves}
    found = [name for name, recipe in made.items() if data in recipe.tuned_on]
    if not found:
        fit = sorted({name for recipe in teachers.values() for name in recipe.tuned_on})
        raise RecipeError(
            f"No recipe of the family 'teacher' has numbers that are made for {data!r} ('tuned_on'); accepted are "
            f"the data {', '.join(fit)}. Give one of these."
        )
    return "edm" if "edm" in found else found[0]


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
    known = recipe.networks
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


def _results() -> Mapping[str, Mapping[str, Any]]:
    """Return what was measured, by data and recipe."""
    path = files("fewstep.recipes") / "measured.json"
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _line(name: str, recipe: Recipe, results: Mapping[str, Mapping[str, Any]]) -> Listed:
    """Put a line together, with the results on the first of its data sets that it was measured on."""
    data = next((data for data in recipe.tuned_on if name in results.get(data, {})), recipe.tuned_on[0])
    result = results.get(data, {}).get(name, {})
    frechet = {int(calls): float(value) for calls, value in result.get("frechet", {}).items()}
    best = min(frechet, key=lambda calls: (frechet[calls], calls), default=None)
    about = (recipe.family, recipe.purpose, reach_of(recipe), needs(recipe), data)
    return Listed(name, *about, best, frechet, result.get("seconds"))


def _learner(spec: LearnerSpec, steps: int) -> str:
    begun = "from the teacher" if spec.from_ else "from scratch"
    begun = begun if spec.lora is None else f"an adapter of rank {spec.lora.rank} on the teacher"
    updates = spec.updates(steps)
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
