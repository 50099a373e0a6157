"""The whole job on data that ship with scikit-learn: a teacher, its student, both measured, one report."""

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from fewstep.data import Data, Digits
from fewstep.evaluate import (
    Judge,
    Report,
    Row,
    Strip,
    loss_curves,
    quality_curve,
    strip,
    write_report,
    write_rows,
)
from fewstep.jobs.fit import Options, distill, train_teacher
from fewstep.jobs.measure import judge_for, measure_all
from fewstep.jobs.record import numbers_of, read_log
from fewstep.model import Model
from fewstep.sampling import ManyStep
from fewstep.solvers import DDIM
from fewstep.store import load_model
from fewstep.versions import hardware

__all__ = ["CUTS", "cut", "demo"]

CUTS = (1, 2, 4)  # the calls that teacher and student are compared at
RECIPE = "dmd2-no-gan"  # the best student in the four minutes that a demo may take; see docs/results.md
SHOWN = 16  # images in a row of the strip
QUICK = ("steps=40", "looks=2", "judged=64", "batch=32")  # settings that only show that everything runs
QUICK_PAIRS = ("pairs.count=64", "pairs.shard=64")


@dataclass
class _Clock:
    """Seconds of each stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


def demo(out: Path, quick: bool = False, show: bool = True) -> list[Row]:
    """Train a teacher on the digits, distil it, judge both, and write the report into ``out``.

    ``quick`` runs a few updates only, to see that everything works.  Interrupted, it continues where it stopped.
    """
    data, clock, settings, more = Digits(), _Clock(), QUICK if quick else (), QUICK_PAIRS if quick else ()
    with clock.stage("feature network"):
        judge = judge_for(data)
    with clock.stage("teacher"):
        teacher = train_teacher(data, Options(out / "teacher", settings=settings, show=show))
    with clock.stage("student"):
        student = distill(teacher, data, Options(out / "student", settings=(*settings, *more), show=show), RECIPE)
    with clock.stage("evaluation"):
        rows = _rows(judge, teacher, student, samples=64 if quick else None, show=show)
    write_rows(out / "results.json", rows)
    strip(_strips(data, teacher, student, rows), out / "strip.png")
    write_report(out / "report.html", _report(out, rows, student, clock))
    return rows


def cut(teacher: Model, calls: int) -> Model:
    """Return the teacher with that many calls: a first-order solver on its own schedule."""
    return replace(teacher, sampler=ManyStep(teacher.sampler.schedule, DDIM(), calls))


def _rows(judge: Judge, teacher: Model, student: Model, samples: int | None, show: bool) -> list[Row]:
    jobs: list[tuple[str, Model, int]] = [("teacher", teacher, teacher.steps)]
    jobs += [("teacher", cut(teacher, calls), calls) for calls in CUTS]
    jobs += [("student", student, calls) for calls in CUTS]
    return measure_all(jobs, judge, samples, show)


def _strips(data: Data, teacher: Model, student: Model, rows: list[Row]) -> list[Strip]:
    """One row of pictures per measured row, all of the same seeds and labels."""
    labels, seeds = [i % len(data.classes) for i in range(SHOWN)], range(SHOWN)
    made = []
    for row in rows[1:]:
        model, steps = (student, row.steps) if row.model == "student" else (teacher, row.steps)
        if row.model == "teacher" and row.steps != teacher.steps:
            model = cut(teacher, row.steps or 1)
        calls = f"{row.calls} call{'s' if row.calls != 1 else ''}"
        about = f"{1000 * (row.seconds_per_image or 0):.2f} ms an image\nFréchet distance {row.frechet:.3f}"
        made.append(Strip(f"{row.model}, {calls}", about, model.sample(seeds, labels, steps)))
    return made


def _report(out: Path, rows: list[Row], student: Model, clock: _Clock) -> Report:
    curve, losses = io.BytesIO(), io.BytesIO()
    quality_curve(rows, curve)
    loss_curves(_curves(out), losses)
    settings = {
        "data": "the 1,797 handwritten digits of scikit-learn, 8 x 8, 10 classes",
        "teacher": f"edm: {_size(out / 'teacher')}",
        "student": f"{student.facts['recipe']} ({student.facts['source']}): {_size(out / 'student')}",
        "student's times": _times(student),
        "seed": str(student.facts["seed"]),
        "hardware": hardware(),
    }
    commands = ["make demo", f"fewstep sample {out / 'student'} --steps 1 --seed 7 --label 3 --out out.png"]
    return Report(
        title="A slow teacher and its few-step student: handwritten digits",
        strip=out / "strip.png",
        rows=rows,
        curve=curve.getvalue(),
        losses=losses.getvalue(),
        settings=settings,
        commands=commands,
        timings=clock.seconds,
    )


def _times(student: Model) -> str:
    lists = {n: student.sampler.schedule.points(n).tolist() for n in CUTS}
    return "; ".join(f"{n}: {', '.join(f'{t:g}' for t in times)}" for n, times in lists.items())


def _size(run: Path) -> str:
    """Say how large a finished model is and how long it trained."""
    model = load_model(run)
    parameters = sum(parameter.numel() for parameter in model.view.net.parameters())
    facts = model.facts
    return f"{parameters:,} parameters, {facts['trained steps']} steps in {facts['training seconds']:.0f} s"


def _curves(out: Path) -> dict[str, list[tuple[int, float]]]:
    """Collect the logged numbers of both runs by name."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for run in ("teacher", "student"):
        for line in read_log(out / run):
            for name, value in numbers_of(line).items():
                if not name.startswith("pulse: "):  # a panel each is enough
                    short = name.removeprefix("look: ").replace("distance between seeds", "seed distance")
                    title = short.replace("student", run, 1) if short.startswith("student") else f"{run}: {short}"
                    curves.setdefault(title, []).append((line["step"], value))
    return curves
