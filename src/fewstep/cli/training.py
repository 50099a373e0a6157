"""``fewstep train`` and ``fewstep distill``: from options to a run, with everything that was computed said first."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer

from fewstep.cli.words import cache_folder, say, typed
from fewstep.data import NAMED, Data, open_data
from fewstep.errors import DataError, RecipeError
from fewstep.interop import Pipe, at_home, is_pipeline
from fewstep.jobs import Options, fit
from fewstep.jobs.fit import BEST
from fewstep.jobs.foretell import foretold
from fewstep.jobs.listing import check_parts, describe
from fewstep.jobs.models import pipe_of
from fewstep.jobs.origin import Origin, data_for, keep_origin, origin_of
from fewstep.jobs.pipelines import Asked, encoded, in_folder, opened, prepare, started, starting, weighed
from fewstep.jobs.suited import computed, fitting
from fewstep.model import Model
from fewstep.recipes import Document, Recipe, is_given_teacher, load_recipe, read
from fewstep.store import load_model

__all__ = [
    "Asked",
    "Given",
    "Order",
    "best_for",
    "distill",
    "few_step_recipe",
    "few_step_settings",
    "open_given",
    "train",
]

BEST_FOR_PIPELINES = "dmd2-text"  # the best by docs/measured.md: one to four steps, an adapter


@dataclass(frozen=True)
class Order:
    """What both commands are told."""

    recipe: str
    out: Path
    seed: int
    settings: Sequence[str]
    quiet: bool
    tensorboard: bool = False


@dataclass(frozen=True)
class Given:
    """What a distillation begins with: the order and the recipe made to suit the teacher, and the teacher to suit the
    recipe.

    ``itself`` is the teacher as it samples alone, ``start`` what learners ``from: origin`` begin with where that is
    another model, ``pipe`` the pipeline that was opened, if the teacher is one.
    """

    order: Order
    recipe: Recipe
    teacher: Model
    itself: Model
    start: Model | None = None
    pipe: Pipe | None = None


def train(order: Order, data: str, size: int | None, channels: int | None) -> None:
    """Train a teacher."""
    recipe = load_recipe(order.recipe, order.settings)
    if is_given_teacher(recipe):
        raise RecipeError(
            f"The recipe {order.recipe!r} distils a teacher. Use it with `fewstep distill TEACHER --recipe "
            f"{order.recipe}`, or train with a recipe that needs data only, such as edm (see `fewstep recipes`)."
        )
    _run(order, recipe, open_data(data, size, channels), data)


def distill(order: Order, asked: Asked, data: str | None, steps: int | None, rank: int | None) -> None:
    """Distil the teacher in a folder: a model of ours, or a pipeline."""
    if is_pipeline(asked.place) and data is None:
        raise DataError(
            f"{asked.place} is a pipeline, which does not say what it learned from. Give --data: a folder of images "
            "with captions, or shapes."
        )
    asked = _written(order, asked)
    given, place = open_given(order, asked, steps, rank), Path(asked.place)
    if given.pipe is None or data is None:
        known = data_for(given.teacher, place, data)
        say(_export(given))
        _run(given.order, given.recipe, known, data or _place(place, known), (given.teacher, place))
        return
    say(_chosen(asked, given.pipe) | _export(given))
    latents = encoded(data, given.pipe, cache_folder(), given.itself)
    say(latents.describe())
    prepare(latents, not order.quiet)
    _run(given.order, given.recipe, latents, data, (given.teacher, place), given.start)


def open_given(order: Order, asked: Asked, steps: int | None, rank: int | None) -> Given:
    """Open a teacher, a model of ours or a pipeline, and make the recipe and it suit each other."""
    if rank is not None:
        order = replace(order, settings=[f"learners.student.lora={{rank: {rank}}}", *order.settings])
    if is_pipeline(asked.place):
        pipe, teacher = opened(asked)
        start = started(asked)
        begun = [] if start is None else starting(start)
        order = _suited(replace(order, settings=[*begun, *order.settings]), steps, teacher)
        recipe = few_step_recipe(order, None)
        first = None if start is None else fitting(start, recipe)
        return Given(order, recipe, fitting(teacher, recipe), teacher, first, pipe)
    teacher = load_model(Path(asked.place))
    _refuse_for_models(asked)
    if "pipeline" not in teacher.facts:
        return Given(order, few_step_recipe(order, steps), teacher, teacher)
    teacher = at_home(teacher)
    order = _suited(order, steps, teacher)
    recipe = few_step_recipe(order, None)
    return Given(order, recipe, fitting(teacher, recipe), teacher)


def _written(order: Order, asked: Asked) -> Asked:
    """Return a pipeline as its student needs it: as a folder, and with LoRAs at weight 1, written beside the run."""
    if not is_pipeline(asked.place):
        return asked
    if (found := in_folder(asked, order.out / "teacher")) is not asked:
        say({"checkpoint": f"{asked.place}, written into {found.place}, on which the student is based"})
    return weighed(found, order.out / "styles")


def _chosen(asked: Asked, pipe: Pipe) -> dict[str, str]:
    """Say in which variant a pipeline was opened where nobody asked for it."""
    found = pipe.which.variant
    return {} if found == asked.variant else {"variant": f"{found}: {asked.place} has no weights without one"}


def _export(given: Given) -> dict[str, str]:
    """Say at once how the student of a pipeline will be exported, or why not."""
    teacher = given.teacher
    if "pipeline" not in teacher.facts:
        return {}
    pipe = given.pipe or pipe_of(teacher)
    return {"export": foretold(given.recipe, given.order.settings, teacher, given.start, pipe).words}


def _suited(order: Order, steps: int | None, teacher: Model) -> Order:
    """Return the order with the settings that follow from the number of steps, and from a pipeline as the teacher."""
    settings = [*order.settings, *few_step_settings(read(order.recipe).with_settings(order.settings), steps)]
    return replace(order, settings=[*settings, *computed(order.recipe, settings, teacher)])


def _refuse_for_models(asked: Asked) -> None:
    given = {f"--{name}": value for name, value in vars(asked).items() if name != "place"}
    if extra := [name for name, value in given.items() if value not in (None, ())]:
        raise RecipeError(
            f"{', '.join(extra)} was given for the model in {asked.place}, which is no diffusers pipeline. Leave it "
            "out; guidance is set in the recipe: --set 'frozen.teacher.guidance=[{cfg: 2}]'."
        )


def best_for(place: str) -> str:
    """Return the recipe that a teacher is distilled with when nobody names one."""
    return BEST_FOR_PIPELINES if is_pipeline(place) else BEST


def few_step_recipe(order: Order, steps: int | None) -> Recipe:
    """Return the recipe that is ordered, made for so many steps; raise ``RecipeError`` when it needs no teacher."""
    chosen = few_step_settings(read(order.recipe).with_settings(order.settings), steps)
    recipe = load_recipe(order.recipe, [*chosen, *order.settings])
    if not is_given_teacher(recipe):
        raise RecipeError(
            f"The recipe {order.recipe!r} learns from data and has no use for a teacher. Use it with `fewstep train "
            f"--recipe {order.recipe}`, or give --recipe dmd2 or another that distils (see `fewstep recipes`)."
        )
    return recipe


def few_step_settings(document: Document, steps: int | None) -> list[str]:
    """Return the settings that make a student for ``steps``: for the powers of two below, and for it.

    ``steps`` are the default where the recipe's own is more than one step; else that is one step still.
    A rollout along the sampler's own schedule then makes as many steps.  None leaves the recipe as it is.
    Raises ``RecipeError`` when its sampler is no ``few_step``.
    """
    if steps is None:
        return []
    sampler: Any = document.values.get("sampler")
    names = [name for name in sampler if _simple(name) == "fewstep"] if isinstance(sampler, dict) else []
    if not names:
        raise RecipeError(
            f"--steps {steps} was given, but {document.where('sampler')} of the recipe {document.name!r} is "
            f"{sampler!r}, and only a few_step sampler can be set so. Leave --steps out, or give another recipe."
        )
    words, rollouts = sampler[names[0]] or {}, document.values.get("rollout") or {}
    fewer, schedule = [2**i for i in range(steps.bit_length()) if 2**i < steps], words.get("schedule")
    made_for = [steps, *fewer] if next(iter(words.get("steps", [1]))) > 1 else [*fewer, steps]
    along = [name for name, how in rollouts.items() if {"schedule", "steps"} <= {*how} and how["schedule"] == schedule]
    return [f"sampler.{names[0]}.steps={made_for}", *(f"rollout.{name}.steps={steps}" for name in along)]


def _simple(name: str) -> str:
    return name.replace("_", "").lower()


def _place(folder: Path, data: Data) -> str:
    """Return what the teacher's data were called when it was trained."""
    origin = origin_of(folder)
    return data.name if origin is None else origin.data


def _run(
    order: Order,
    recipe: Recipe,
    data: Data,
    named: str,
    teacher: tuple[Model, Path] | None = None,
    start: Model | None = None,
) -> None:
    """Say what is going to happen, do it, and say what came of it."""
    check_parts(recipe, order.recipe)
    finished = (order.out / "run.json").is_file()
    say(_plan(order, recipe, data, teacher))
    place = named if named in NAMED else str(Path(named).resolve())
    keep_origin(order.out, Origin(typed(), place))
    options = Options(
        order.out, order.seed, not order.quiet, order.settings, cache_folder(), tensorboard=order.tensorboard
    )
    model = fit(recipe, order.recipe, data, options, teacher[0] if teacher else None, start)
    typer.echo("")
    say(_result(order.out, model, finished))


def _plan(order: Order, recipe: Recipe, data: Data, teacher: tuple[Model, Path] | None) -> dict[str, str]:
    """Everything that was computed from the options, one line per topic."""
    words = {"recipe": order.recipe, **describe(recipe)}
    if teacher:
        model, folder = teacher
        words["teacher"] = f"{folder}: {model.steps} steps, {model.calls()} network calls per item"
    shape, classes = "x".join(map(str, data.shape)), f"{len(data.classes) or 'no'} classes"
    if data.condition:
        classes = f"conditions of {'x'.join(map(str, data.condition))}"
    return words | {
        "data": f"{data.name}: {len(data):,} items of {shape}, {classes}",
        "settings": ", ".join(order.settings) or "none besides the recipe's",
        "seed": str(order.seed),
        "folder": str(order.out),
    }


def _result(out: Path, model: Model, finished: bool) -> dict[str, str]:
    facts = model.facts
    done = f"{facts['trained steps']:,} steps in {facts['training seconds']:g} s, best at step {facts['best step']:,}"
    begun = "this run was finished already, nothing is left to do" if finished else "done"
    return {
        "state": f"{begun}: {done}",
        "model": str(out),
        "next": f"fewstep sample {out} --count 16, or fewstep evaluate {out}",
    }
