"""Every recipe on the same data from one teacher, with several seeds, measured at 1, 2, 4 and 8 calls."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from fewstep.data import Data, open_data
from fewstep.errors import RecipeError, UnhealthyTraining, nearest
from fewstep.evaluate.results import (
    REAL,
    TEACHER,
    Result,
    Trial,
    full,
    merged,
    over_seeds,
    read_results,
    write_results,
)
from fewstep.files import CACHE, write_whole
from fewstep.jobs.demo import QUICK, QUICK_PAIRS, cut
from fewstep.jobs.fit import Options, fit
from fewstep.jobs.keep import Yardstick, measured_once
from fewstep.jobs.listing import teacher_of
from fewstep.jobs.measure import judge_for
from fewstep.jobs.origin import Origin, keep_illness, keep_origin
from fewstep.jobs.progress import bar
from fewstep.jobs.publish import RESULTS, publish, remarks
from fewstep.jobs.stages import BEGINS
from fewstep.model import Model
from fewstep.recipes import Recipe, is_given_teacher, load_recipe, paper_names
from fewstep.sampling import Sampler
from fewstep.versions import hardware

__all__ = ["CALLS", "Bench", "Outcome", "bench", "steps_for"]

CALLS = (1, 2, 4, 8)  # that students are compared at, with the teacher beside them
FAILURES = "failures.json"


@dataclass(frozen=True)
class Bench:
    """What to measure: the data, the recipes ("all", or names), and how many seeds.

    Runs go to ``out``, the results to ``docs``; ``quick`` makes a few updates only, to see that everything works.
    """

    data: str
    recipes: Sequence[str] = ("all",)
    out: Path = Path("runs/bench")
    seeds: int = 3
    docs: Path = Path("docs")
    quick: bool = False
    show: bool = True
    cache: Path = CACHE
    command: str = ""


@dataclass(frozen=True)
class Outcome:
    """The new results, what was written, what to know of some recipes (left out, of another teacher), and why a run
    failed (by "recipe, seed N")."""

    results: list[Result]
    written: list[Path]
    notes: Mapping[str, str]
    failed: Mapping[str, str]


@dataclass(frozen=True)
class _Bench:
    """A bench while it runs."""

    plan: Bench
    data: Data
    teacher: Model
    by: Yardstick
    recipes: Mapping[str, Recipe]
    trials: dict[str, list[Trial]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def bench(plan: Bench) -> Outcome:
    """Train and measure, then write ``docs``; what is finished or measured already is not done again.

    A recipe that fails is written down and does not stop the others.  Raises ``RecipeError`` for an unknown recipe,
    fewer than 1 seed, and when no recipe is left; ``DataError`` for unknown data.
    """
    data = open_data(plan.data)
    recipes, notes = _chosen(plan)
    remarks(plan.docs)  # read now, so that a mistake in it does not wait for the end
    judge = judge_for(data, cache=plan.cache)
    by = Yardstick(judge, judge.floor(), 64 if plan.quick else None)
    lines, failed = _run(plan, data, by, recipes)
    old = read_results(plan.docs / RESULTS)
    write_results(plan.docs / RESULTS, merged(old, lines))
    return Outcome(lines, publish(plan.docs), notes | _of_another_teacher(old, lines), failed)


def _run(plan: Bench, data: Data, by: Yardstick, recipes: Mapping[str, Recipe]) -> tuple[list[Result], dict[str, str]]:
    """Fit and measure the teacher and every recipe with every seed, finished runs first; return lines and failures."""
    runs = [(name, seed) for name in recipes for seed in range(plan.seeds)]
    done = [run for run in runs if (_folder(plan, *run) / "run.json").is_file()]
    with bar("bench", plan.show) as move:
        move(0, len(runs), "the teacher")
        name = teacher_of(plan.data)
        recipe = load_recipe(name, _settings(plan, name))
        teacher = _fit(recipe, data, _options(plan, name, plan.out / TEACHER, 0), name)
        state = _Bench(plan, data, teacher, by, recipes)
        beside = [*_teacher_lines(state, recipe), _floor(by, plan.data)]
        for i, run in enumerate([*done, *(run for run in runs if run not in done)]):
            if i >= len(done):  # runs that are only loaded would make the time left look short
                move(i, len(runs), f"{run[0]}, seed {run[1]}")
            _try(state, *run)
        move(len(runs), len(runs))
    return _lines(state, beside), state.failed


def steps_for(sampler: Sampler) -> list[int]:
    """Return the numbers of steps to measure: those that cost 1, 2, 4 and 8 calls, and those it is made for.

    A schedule with fewer times than 8 is a list that the student was trained at: then only those it is made for.
    """
    try:
        sampler.schedule.steps(CALLS[-1])
    except RecipeError:
        return sorted(sampler.made_for)
    return sorted({*sampler.made_for, *(n for n in range(1, CALLS[-1] + 1) if sampler.calls(n) in CALLS)})


def _chosen(plan: Bench) -> tuple[dict[str, Recipe], dict[str, str]]:
    """Return the recipes to run, and why others that were asked for are not."""
    if plan.seeds < 1:
        raise RecipeError(f"{plan.seeds} seeds were asked for; accepted are 1 and more, and 3 give a spread.")
    if not plan.recipes:
        raise RecipeError(f"There is no recipe to bench in an empty list; {nearest('all', [*paper_names(), 'all'])}")
    whole = list(plan.recipes) == ["all"]
    for name in () if whole else plan.recipes:
        if name not in paper_names():
            raise RecipeError(f"There is no recipe {name!r} to bench; {nearest(name, [*paper_names(), 'all'])}")
    teacher, recipes, notes = teacher_of(plan.data), {}, {}
    for name in paper_names() if whole else dict.fromkeys(plan.recipes):
        recipe = load_recipe(name, _settings(plan, name))
        if name == teacher:
            notes[name] = "it is the teacher, and measured as such"
        elif plan.data not in recipe.tuned_on:
            notes[name] = f"its numbers are made for {', '.join(recipe.tuned_on)} ('tuned_on'), not for {plan.data}"
        else:
            recipes[name] = recipe
    return recipes, notes


def _settings(plan: Bench, name: str) -> list[str]:
    """Return what makes a recipe quick, and the one that it begins with; nothing for the real thing."""
    if not plan.quick:
        return []
    recipe = load_recipe(name)
    own = [*QUICK, *(QUICK_PAIRS if recipe.pairs else ())]
    return own + [f"{BEGINS}{setting}" for setting in (_settings(plan, recipe.begins) if recipe.begins else [])]


def _folder(plan: Bench, name: str, seed: int) -> Path:
    return plan.out / name / f"seed-{seed}"


def _options(plan: Bench, name: str, folder: Path, seed: int) -> Options:
    """Say how to run; the folder remembers the command of the bench."""
    keep_origin(folder, Origin(plan.command or f"fewstep bench {plan.data}", plan.data))
    shared = plan.out / "pairs"
    return Options(folder, seed, show=False, settings=_settings(plan, name), cache=plan.cache, pairs=shared)


def _fit(recipe: Recipe, data: Data, options: Options, name: str, teacher: Model | None = None) -> Model:
    """Train, continue or load a run."""
    model = fit(recipe, name, data, options, teacher if is_given_teacher(recipe) else None)
    return model.to("cuda") if torch.cuda.is_available() else model


def _try(state: _Bench, name: str, seed: int) -> None:
    """Run a recipe with a seed and keep its trial; or write down why it failed."""
    folder, recipe = _folder(state.plan, name, seed), state.recipes[name]
    try:
        student = _fit(recipe, state.data, _options(state.plan, name, folder, seed), name, state.teacher)
        jobs = [(student, steps) for steps in steps_for(student.sampler)]
        state.trials.setdefault(name, []).append(_trial(state, folder, jobs, _updates(recipe, state.plan)))
    except (UnhealthyTraining, RecipeError) as error:
        if isinstance(error, UnhealthyTraining):
            keep_illness(folder, str(error))
        state.failed[f"{name}, seed {seed}"] = str(error)
        failures = json.dumps(state.failed, indent=1, ensure_ascii=False)
        write_whole(state.plan.out / FAILURES, f"{failures}\n".encode())


def _updates(recipe: Recipe, plan: Bench) -> int:
    """Count the updates of the student, in the stage before too."""
    own = recipe.learners["student"].updates(recipe.steps)
    if not recipe.begins:
        return own
    return own + _updates(load_recipe(recipe.begins, _settings(plan, recipe.begins)), plan)


def _trial(state: _Bench, folder: Path, jobs: Sequence[tuple[Model, int]], updates: int) -> Trial:
    """Measure what was not measured yet."""
    kept, facts = measured_once(folder, jobs, state.by), jobs[0][0].facts
    wanted = {model.calls(steps) for model, steps in jobs}
    rows = {calls: row for calls, row in kept.rows.items() if calls in wanted}
    found = {calls: row.frechet for calls, row in rows.items() if row.frechet is not None}
    recall = {calls: row.recall for calls, row in rows.items() if row.recall is not None}
    machine = f"{facts['hardware']}, torch {facts['versions']['torch']}"
    seconds, pairs = float(facts["training seconds"]), float(facts.get("pair seconds", 0))
    return Trial(found, updates, seconds, kept.commit, machine, pairs, recall)


def _teacher_lines(state: _Bench, recipe: Recipe) -> list[Result]:
    """Return the teacher with all its calls and cut to few."""
    teacher = state.teacher
    jobs = [(teacher, teacher.steps), *((cut(teacher, calls), calls) for calls in CALLS)]
    trial = _trial(state, state.plan.out / TEACHER, jobs, _updates(recipe, state.plan))
    return over_seeds(state.plan.data, TEACHER, [trial], trial.frechet[teacher.calls()])


def _floor(by: Yardstick, data: str) -> Result:
    distance = float(by.floor.frechet or 0.0)
    machine = f"{hardware()}, torch {torch.__version__}"
    return Result(data, REAL, None, round(distance, 6), None, None, None, None, 1, None, machine)


def _lines(state: _Bench, beside: Sequence[Result]) -> list[Result]:
    """Return the lines of all recipes, and those beside them."""
    teacher, data = full(beside).frechet, state.plan.data
    students = [over_seeds(data, name, trials, teacher) for name, trials in state.trials.items()]
    return merged([], [*beside, *(line for lines in students for line in lines)])


def _of_another_teacher(old: Sequence[Result], new: Sequence[Result]) -> dict[str, str]:
    """Say which lines stay although they were measured beside another teacher than the one of now."""
    data, renewed = new[0].data, {line.recipe for line in new}
    before = [line for line in old if line.data == data and line.recipe == TEACHER]
    if not before or full(before).frechet == full(new).frechet:
        return {}
    stay = {line.recipe for line in old if line.data == data} - renewed
    return dict.fromkeys(sorted(stay), "its lines are kept, but were measured beside another teacher; bench it again")
