"""A recipe by its name or path, ready to use."""

from collections.abc import Sequence
from functools import cache

from fewstep.errors import RecipeError, nearest
from fewstep.recipes.build import Builder
from fewstep.recipes.read import Document, paper_names, read
from fewstep.recipes.schema import LearnerSpec, Recipe

__all__ = ["is_given_teacher", "load_recipe", "parse"]


def load_recipe(name: str, settings: Sequence[str] = ()) -> Recipe:
    """Read the recipe ``name`` (or a .yaml path) with ``path=value`` settings applied.

    Raises ``RecipeError`` with path and line for everything that is unknown, missing or of the wrong kind.
    """
    return parse(read(name).with_settings(settings)) if settings or name not in paper_names() else _published(name)


@cache  # commands that list, bench or suggest recipes load all of them several times
def _published(name: str) -> Recipe:
    return parse(read(name).with_settings(()))


def is_given_teacher(recipe: Recipe) -> bool:
    """Say whether a teacher must be given: not where the recipe that it begins with makes one from data alone."""
    return recipe.needs_teacher and not (recipe.begins and not is_given_teacher(load_recipe(recipe.begins)))


def parse(document: Document) -> Recipe:
    """Build the recipe of a document and check that its parts fit together."""
    recipe = Builder(document).build(Recipe, dict(document.values), "")
    _check(recipe, document)
    return recipe


def _check(recipe: Recipe, document: Document) -> None:
    if "student" not in recipe.learners:
        raise RecipeError(
            f"{document.where('learners')} has the learners {list(recipe.learners)}; one must be called 'student'."
        )
    if recipe.keep and recipe.keep not in recipe.learners["student"].averages:
        known = recipe.learners["student"].averages
        raise RecipeError(f"{document.where('keep')} names the average {recipe.keep!r}; {nearest(recipe.keep, known)}")
    if min(recipe.steps, recipe.batch, recipe.looks, recipe.at_once) < 1:
        raise RecipeError(
            f"steps is {recipe.steps}, batch {recipe.batch}, looks {recipe.looks}, at_once {recipe.at_once}; all must "
            "be 1 or more."
        )
    for name, spec in recipe.learners.items():
        if (spec.from_ is None) == (spec.network is None) and spec.from_ is None:
            raise RecipeError(f"{document.where(f'learners.{name}')} needs 'from: teacher' or a 'network'.")
        _check_lora(spec, document, f"learners.{name}")
    _check_from(recipe, document)
    _check_teacher(recipe, document)


def _check_from(recipe: Recipe, document: Document) -> None:
    named = {f"learners.{name}.from": spec.from_ for name, spec in recipe.learners.items()}
    named |= {f"frozen.{name}.from": spec.from_ for name, spec in recipe.frozen.items()}
    named |= {} if recipe.pairs is None else {"pairs.from": recipe.pairs.from_}
    for path, given in named.items():
        if given not in (None, "teacher", "origin"):
            raise RecipeError(f"{document.where(path)} is {given!r}; accepted are 'teacher' and 'origin'.")


def _check_lora(spec: LearnerSpec, document: Document, path: str) -> None:
    if spec.lora is None:
        return
    if spec.from_ is None:
        raise RecipeError(
            f"{document.where(f'{path}.lora')} is an adapter, which needs a frozen network to sit on; say "
            "'from: teacher' in this learner, or leave 'lora' out to train its 'network' as a whole."
        )
    if spec.from_ == "origin" and not path.endswith(".student"):
        raise RecipeError(
            f"{document.where(f'{path}.lora')} is an adapter, which sits on the frozen teacher, but this learner is "
            "'from: origin', which only a student's may be. Say 'from: teacher', or leave 'lora' out."
        )
    for key, given in (("only", spec.only), ("graft", spec.graft)):
        if given:
            raise RecipeError(
                f"{document.where(f'{path}.{key}')} is given beside 'lora', which says itself what learns and leaves "
                f"the weights that it shares with the teacher as they are. Leave {key!r} or 'lora' out."
            )


def _check_teacher(recipe: Recipe, document: Document) -> None:
    if recipe.base is not None and not recipe.needs_teacher:
        raise RecipeError(
            f"{document.where('base')} says how a teacher is kept, and this recipe has none; leave it out."
        )
    if not recipe.needs_teacher and recipe.process is None:
        raise RecipeError(f"{document.name} needs a 'process' (edm, linear, trigflow or vp), as it has no teacher.")
    if any(term.networks() for spec in recipe.learners.values() for _, term in spec.objective.items()):
        return
