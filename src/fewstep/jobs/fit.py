"""Run a recipe from start to end: data in, a finished model folder out, resumable at every moment."""

import copy
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from fewstep.batch import Batch
from fewstep.data import Data, Oversampled, PairStore, batches
from fewstep.errors import UnhealthyTraining
from fewstep.files import CACHE, write_whole
from fewstep.jobs.board import Board
from fewstep.jobs.health import Doctor, features_of, reference_of
from fewstep.jobs.live import Live
from fewstep.jobs.machine import this_machine
from fewstep.jobs.measure import judge_for
from fewstep.jobs.origin import keep_illness
from fewstep.jobs.pairs import pairs_for
from fewstep.jobs.pipelines import inherited
from fewstep.jobs.progress import bar
from fewstep.jobs.pulse import EVERY, Pulse, raw, room
from fewstep.jobs.record import Record
from fewstep.jobs.stages import foresee, stage_settings, student_of
from fewstep.labels import numbers
from fewstep.model import Model
from fewstep.networks import LORA, merged
from fewstep.recipes import Base, Recipe, assemble, load_recipe, numbered
from fewstep.store import load_model, read_run, save_model
from fewstep.training import Collapse, Training, checkpoints, load_weights, train, weights_bytes
from fewstep.versions import hardware, versions

__all__ = ["Options", "distill", "fit", "train_teacher"]

BEST = "dmd2-no-gan"  # the best by docs/results.md of one stage for one to four calls, and it needs no data
LOGGED = 200  # turns of each learner that are written down; more only make the curves denser


@dataclass(frozen=True)
class Options:
    """What a run needs besides its recipe: where it goes, its seed, and whether it shows bars.

    ``settings`` are ``path=value`` changes to the recipe, ``cache`` keeps the judge's feature network, ``pairs`` the
    teacher's pairs that runs share (None: a run keeps its own).  ``tensorboard``: whether the numbers of the log are
    written for TensorBoard too.
    """

    out: Path | str
    seed: int = 0
    show: bool = True
    settings: Sequence[str] = ()
    cache: Path = CACHE
    pairs: Path | None = None
    tensorboard: bool = False

    @property
    def folder(self) -> Path:
        """``out`` as a path."""
        return Path(self.out)


@dataclass(frozen=True)
class _Run:
    """Everything one run holds while it trains."""

    recipe: Recipe
    source: Data
    training: Training
    model: Model
    doctor: Doctor
    pulse: Pulse
    record: Record
    accelerator: Accelerator
    options: Options
    before: Mapping[str, Any]
    base: Base | None = None


def train_teacher(data: Data, options: Options, recipe: str = "edm") -> Model:
    """Train a teacher with a recipe that needs none; return it, finished and saved in ``options.out``."""
    return fit(load_recipe(recipe, options.settings), recipe, data, options)


def distill(teacher: Model, data: Data, options: Options, recipe: str = BEST, start: Model | None = None) -> Model:
    """Distil a teacher into a few-step student; return it, finished and saved in ``options.out``.

    ``start`` is where learners begin that come ``from: origin``; by default that is the teacher.
    """
    return fit(load_recipe(recipe, options.settings), recipe, data, options, teacher, start)


def fit(
    recipe: Recipe, name: str, data: Data, options: Options, teacher: Model | None = None, start: Model | None = None
) -> Model:
    """Run a recipe.  An interrupted run continues from its last checkpoint; a finished one is loaded.

    A recipe that ``begins`` with another one runs that first, in the folder ``begin``, unless it made the teacher;
    settings ``begins.path=value`` are for it.  What was given stays at hand for recipes that ask for the origin,
    unless that is ``start``.
    Raises ``RecipeError`` when the folder holds another run, or for a recipe that cannot work, before pairs are made or
    another recipe is run for it, and ``UnhealthyTraining`` with a diagnosis when a monitor stops the run; the last
    healthy and the best weights are kept.
    """
    recipe, origin = numbered(recipe, data.classes), start or teacher
    if (recipe.begins or recipe.pairs) and not (options.folder / "run.json").is_file():
        foresee(recipe, data, options.settings, teacher, start)
    if recipe.begins:
        teacher, first = _begun(recipe, data, options, teacher)
        origin = start or first
    record = Record.open(options.folder, recipe, name, data, options.seed, teacher)
    if record.finished:
        own = copy.deepcopy(teacher.view.net) if teacher is not None and not teacher.network else None
        return load_model(options.folder, own)
    run = _prepare(recipe, data, options, (teacher, origin), record)
    try:
        _loop(run)
    except UnhealthyTraining as error:
        kept = f"The last healthy checkpoint is in {record.checkpoints}, the best weights are {record.best_weights}."
        diagnosis = f"{error} {kept if checkpoints(record.checkpoints) else 'No healthy checkpoint was saved yet.'}"
        keep_illness(options.folder, diagnosis)
        raise UnhealthyTraining(diagnosis) from error
    facts = {"recipe": name, "source": recipe.source, "data": data.name, "seed": options.seed}
    if guided := recipe.guidance_range:
        facts["guidance range"] = list(guided)
    return _finish(run, facts | inherited(recipe, teacher, start))


def _begun(recipe: Recipe, data: Data, options: Options, teacher: Model | None) -> tuple[Model, Model | None]:
    """Return what the recipe distils, which another recipe makes or has made, and what that one distils if known."""
    if teacher is not None and teacher.facts.get("recipe") == recipe.begins:
        return teacher, None
    settings = stage_settings(options.settings)
    first = replace(options, out=options.folder / "begin", settings=settings)
    return fit(load_recipe(recipe.begins, settings), recipe.begins, data, first, teacher), teacher


def _prepare(
    recipe: Recipe, data: Data, options: Options, given: tuple[Model | None, Model | None], record: Record
) -> _Run:
    """Make the pairs if the recipe wants them, build the learners, continue where the last run stopped.

    ``given`` are the teacher and the model that was given first.
    """
    teacher, origin = given
    source, accelerator = data, this_machine()
    record.writes = accelerator.is_main_process
    record.board = Board(record.root) if options.tensorboard and record.writes else None
    maker = origin if recipe.pairs is not None and recipe.pairs.from_ == "origin" else teacher
    if recipe.pairs is not None and maker is not None:
        labels = data.conditions(range(len(data)))
        maker.to(accelerator.device)
        with accelerator.main_process_first():
            own = options.folder / "pairs"
            maker = replace(maker, at_once=recipe.at_once)
            source = pairs_for(recipe.pairs, maker, labels, own, options.show, options.pairs)
    for model in filter(None, given):
        model.to("cpu")  # networks are built and checked there
    example = source.batch(range(min(len(source), 2000 if source is data else 64)))  # paths are many times as large
    assembly = assemble(recipe, example, len(data.classes), teacher, options.seed, origin)
    for net in (*assembly.beside, *(model.view.net for model in filter(None, given))):
        net.to(accelerator.device)
    assembly.training.prepare(accelerator)
    record.resume(assembly.training)
    judge = judge_for(data, cache=options.cache).without(numbers(recipe.unjudged))
    drawn = None if teacher is None else replace(teacher, at_once=recipe.at_once)
    reference = reference_of(data, drawn, judge.labels)
    best = float(record.best.get("score", math.inf))
    same = None if teacher is None else features_of(judge, reference[0])
    doctor = Doctor(judge, Collapse.against(*reference), recipe.judged, _pitfalls(recipe), best, same)
    if teacher is not None and recipe.base is not None:
        teacher.to("cpu")  # in the place of it there is one in fewer bits
    model = student_of(assembly, recipe, data)
    pulse = Pulse.of(*reference, doctor.judge.labels, room(raw(model, assembly.training), recipe.batch))
    before = {} if not recipe.begins or teacher is None else teacher.facts
    watched = (doctor, pulse, record)
    return _Run(recipe, source, assembly.training, model, *watched, accelerator, options, before, assembly.base)


def _pitfalls(recipe: Recipe) -> str:
    """Return what may go wrong with the student's terms, once each."""
    terms = [term for _, term in recipe.learners["student"].objective.items()]
    return " ".join(dict.fromkeys(term.PITFALLS for term in terms if term.PITFALLS))


def _loop(run: _Run) -> None:
    """Train; log, feel the pulse, look and save at even distances."""
    training, record, main = run.training, run.record, run.accelerator.is_main_process
    every = {name: max(learner.total // LOGGED, 1) for name, learner in training.learners.items()}
    apart, began, note = max(training.steps // run.recipe.looks, 1), time.perf_counter() - record.seconds, ""
    live = Live(record.root, training.steps, training.step, main)
    with bar(f"training {run.options.folder.name}", run.options.show and main) as move, live:
        for report in train(training, _stream(run), run.accelerator):
            run.doctor.listen(report)
            updates = training.learners[report.learner].updates
            if updates % every[report.learner] == 0:
                record.log(report)
            if main and report.learner == "student" and updates % EVERY == 0:
                _feel(run)
            last = report.learner == training.due(report.step)[-1]  # save whole steps, log and all
            if main and last and (training.step % apart == 0 or training.step == training.steps):
                record.seconds = time.perf_counter() - began
                note = f"score {_look(run):.4g}"
                if run.pulse.calm and run.doctor.calm:  # the last checkpoint is a healthy one
                    record.save(training)
            move(training.step, training.steps, note)
            live.sign(training.step, time.perf_counter() - began)


def _stream(run: _Run) -> Iterator[Batch]:
    """Return the batches that are still to come, this process' share of each."""
    acc, options = run.accelerator, run.options
    ranks = {"rank": acc.process_index, "world": acc.num_processes}
    shares = dict(zip(numbers(run.recipe.shares), run.recipe.shares.values(), strict=True))
    source = Oversampled(run.source, shares) if shares else run.source
    return batches(source, run.recipe.batch, seed=options.seed, start=run.training.step, **ranks)


def _feel(run: _Run) -> None:
    """Feel the pulse of the student's weights as they are now, once for each update."""
    step, pulse, updates = run.training.step, run.pulse, run.training.learners["student"].updates
    if updates > pulse.felt:
        pulse.felt = updates
        run.record.log_pulse(step - 1, pulse.beat(raw(run.model, run.training), step))


def _look(run: _Run) -> float:
    """Look at samples, keep the weights if they are the best so far, and return the score."""
    step, record = run.training.step, run.record
    _feel(run)
    seen = run.doctor.look(run.model, step)
    record.log_look(step, seen)
    if seen["score"] < record.best.get("score", float("inf")):
        record.best = {"score": seen["score"], "step": step}
        write_whole(record.best_weights, weights_bytes(run.model.view.net, run.training.learners["student"].shared))
    return seen["score"]


def _finish(run: _Run, facts: dict[str, object]) -> Model:
    """Take the best weights, write the model, and return it."""
    main, folder = run.accelerator.is_main_process, run.options.folder
    run.accelerator.wait_for_everyone()
    model, net, lora = run.model, run.model.view.net, run.recipe.learners["student"].lora
    load_weights(net, run.record.best_weights, run.training.learners["student"].shared)
    net.eval().requires_grad_(False)
    if lora is not None and run.base is not None:
        model = replace(model, view=replace(model.view, net=merged(net)))
        if main:
            write_whole(folder / LORA, run.base.file(net, lora).content())
    if main:
        save_model(replace(model, facts=facts | _made(run)), folder)
    run.accelerator.wait_for_everyone()
    return replace(model, facts=read_run(folder)["facts"])


def _made(run: _Run) -> dict[str, object]:
    """Say how a finished model was made."""
    made = run.source.index.seconds if isinstance(run.source, PairStore) else 0.0
    return {
        "trained steps": run.training.steps,
        "best step": int(run.record.best["step"]),
        "training seconds": round(run.record.seconds + float(run.before.get("training seconds", 0)), 1),
        "pair seconds": round(made + float(run.before.get("pair seconds", 0)), 1),
        "hardware": hardware(),
        "versions": versions(),
    }
