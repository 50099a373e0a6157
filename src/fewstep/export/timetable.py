"""Which stock scheduler walks as a student was trained to, and what the stock call has to be told for it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any

import diffusers
import torch

from fewstep.errors import WeightsError
from fewstep.export.student import Student
from fewstep.interop.quiet import quiet
from fewstep.predict import X0, Eps, V, Velocity
from fewstep.process import Linear
from fewstep.vp import VP

__all__ = ["Timetable", "timetable"]

NAMES = {Eps: "epsilon", V: "v_prediction", X0: "sample"}
LEVELS = 1000  # of stock schedulers, which count time from 0 to 1000 on either path
SKIP = 1e4  # LCMScheduler mixes x into x0 by about 1 / (4 (SKIP t)^2); its default, 10, is felt below t = 20
BOUNDARY = 1  # the first time step where that is below 1e-8
CLOSE = 1e-3  # of time steps that are no whole numbers, in float32
BETAS = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear", "trained_betas": None}


@dataclass(frozen=True, eq=False)
class Timetable:
    """A stock scheduler; per number of steps the time steps that the network is asked at, their sigmas, and what the
    stock call is told besides the number of steps.  ``eta`` is TCDScheduler's share of time."""

    scheduler: Any
    seen: Mapping[int, list[float]]
    sigmas: Mapping[int, list[float]]
    told: Mapping[int, Mapping[str, Any]]
    stochastic: bool
    prediction: str
    shift: float | None
    eta: float | None = None


def timetable(student: Student, counts: Sequence[int]) -> Timetable:
    """Return the first stock scheduler that asks the network at the very times that it was trained at.

    Its own grid is used where it is the right one, else the call is told the time steps or sigmas.
    Raises ``WeightsError`` when no stock scheduler does what the sampler does, and for steps that it is not made for.
    """
    process, points = student.model.view.process, student.sampler.schedule.points
    if other := sorted(set(counts) - set(student.sampler.made_for)) or not counts:
        raise WeightsError(
            f"The student was made for {list(student.sampler.made_for)} steps; asked for were {other or 'none'}. "
            "Give --steps among them, or leave it out for all."
        )
    times = {count: points(count) for count in counts}
    sigmas = {count: process.sigma(t).tolist() for count, t in times.items()}
    seen = {count: _labels(student, t) for count, t in times.items()}
    empty = Timetable(None, seen, sigmas, {}, _stochastic(student, counts), "flow", None, student.sampler.eta)
    ways = _flow(student, empty) if isinstance(process, Linear) else _discrete(student, empty)
    with quiet():  # of grids that are told
        for way, told in ways:
            if all(_same(_walk(way.scheduler, count, told[count]), seen[count]) for count in counts):
                return way
    raise WeightsError(
        f"The student was trained at the time steps {seen}, at which no stock scheduler asks in the pipeline "
        f"{_kind(student)}. They know whole numbers on this path, and some pipelines even steps "
        "only. Give --steps with numbers of steps that fit, such as 1, 2, 4 and 8, or train with such a schedule."
    )


Way = tuple[Timetable, Mapping[int, Mapping[str, Any]]]  # and what its pipeline tells the scheduler


def _stochastic(student: Student, counts: Sequence[int]) -> bool:
    """Say whether noise is put back, all or by eta; raise where a part of the noise is."""
    gamma, eta = student.sampler.gamma, student.sampler.eta
    if eta is not None:
        return eta > 0 and max(counts) > 1
    if max(counts) > 1 and gamma not in (0, 1):
        raise WeightsError(
            f"Between two steps the sampler puts back a share of the noise (gamma {gamma:g}), which no stock scheduler "
            "does: TCDScheduler's share is one of the time, eta. Accepted are gamma 0 and 1, an eta in its place, or "
            "--steps 1. Set one of these in the sampler, such as 'few_step: {eta: 0.3}', and measure what it costs."
        )
    return gamma == 1 and max(counts) > 1


def _labels(student: Student, times: torch.Tensor) -> list[float]:
    """Return the time steps of stock schedulers: what the network is told, times 1000 where it is told the time."""
    process = student.model.view.process
    labels: torch.Tensor = process.sigma(times) * LEVELS if isinstance(process, Linear) else process.label(times)
    return [round(label, 6) for label in labels.tolist()]


def _flow(student: Student, table: Timetable) -> Iterator[Way]:
    """Yield the schedulers of rectified flow: the pipeline's own even steps where it has them, then explicit sigmas."""
    view, make = student.model.view, diffusers.FlowMatchEulerDiscreteScheduler
    if type(view.prediction) is not Velocity:
        raise WeightsError(_unknown(view.prediction, "Velocity"))
    if table.eta is not None:
        raise WeightsError(
            f"The student is sampled by a share of the time (eta {table.eta:g}), as TCDScheduler does, which knows the "
            "variance-preserving path only. Set the sampler's gamma to 0 or 1 in its place, and measure what it costs."
        )
    shift, stochastic = view.process.shift, table.stochastic  # type: ignore[attr-defined]
    stock = replace(table, shift=shift, told={count: {} for count in table.seen})
    if student.pipe.family.name == "flux":  # its pipeline gives even steps to any scheduler, which shifts them
        even = {count: {"sigmas": [1 - i / count for i in range(count)]} for count in table.seen}
        yield replace(stock, scheduler=make(shift=shift, stochastic_sampling=stochastic)), even
    if "sigmas" in _arguments(student):
        given = {count: {"sigmas": [round(sigma, 9) for sigma in sigmas]} for count, sigmas in table.sigmas.items()}
        yield replace(stock, scheduler=make(shift=1.0, stochastic_sampling=stochastic), told=given), given


def _discrete(student: Student, table: Timetable) -> Iterator[Way]:
    """Yield the schedulers of the variance-preserving path, those with a grid of their own first."""
    view, config = student.model.view, student.pipe.pipeline.scheduler.config
    if type(view.prediction) not in NAMES:
        raise WeightsError(_unknown(view.prediction, "Eps, V and X0"))
    if view.process != VP.from_diffusers(config, unit=True):
        raise WeightsError(
            f"The student lives on {view.process}, which is not the path of its pipeline's scheduler. Export a student "
            "of a recipe that leaves the process as it is."
        )
    path = {key: config.get(key, default) for key, default in BETAS.items()}
    path |= {"num_train_timesteps": LEVELS, "rescale_betas_zero_snr": bool(config.get("rescale_betas_zero_snr"))}
    path |= {"prediction_type": NAMES[type(view.prediction)], "steps_offset": 0}
    stock = replace(table, prediction=path["prediction_type"], told={count: {} for count in table.seen})
    if table.eta is not None:
        yield from _strategic(student, stock, path)
        return
    yield from _consistent(stock, path) if table.stochastic else _deterministic(stock, path)
    if "timesteps" in _arguments(student):
        listed = {count: {"timesteps": list(map(round, steps))} for count, steps in table.seen.items()}
        any_grid = diffusers.LCMScheduler if table.stochastic else diffusers.EulerDiscreteScheduler
        more = {"timestep_scaling": SKIP} if table.stochastic else {"timestep_spacing": "leading"}
        yield replace(stock, scheduler=any_grid(**path, **more), told=listed), listed


def _strategic(student: Student, stock: Timetable, path: Mapping[str, Any]) -> Iterator[Way]:
    """Yield TCDScheduler with the first grid of its own that has all the time steps, then with the steps told."""
    if "eta" not in _arguments(student):
        raise WeightsError(
            f"The student is sampled by a share of the time (eta {stock.eta:g}), but {_kind(student)} tells its "
            "scheduler no eta. Set the sampler's gamma to 0 or 1 in its place, and measure what it costs."
        )
    share = {count: {"eta": stock.eta} for count in stock.seen}
    original = _original(stock)
    if original is not None:
        own = diffusers.TCDScheduler(**path, original_inference_steps=original)
        yield replace(stock, scheduler=own, told=share), stock.told
    if "timesteps" in _arguments(student):
        listed = {count: {"timesteps": list(map(round, steps))} for count, steps in stock.seen.items()}
        both = {count: {**listed[count], **share[count]} for count in listed}
        yield replace(stock, scheduler=diffusers.TCDScheduler(**path), told=both), listed


def _consistent(stock: Timetable, path: Mapping[str, Any]) -> Iterator[Way]:
    """Yield LCMScheduler with the first grid of its own that has all the time steps."""
    if min(min(steps) for steps in stock.seen.values()) < BOUNDARY:
        raise WeightsError("LCMScheduler makes nothing of time step 0; train with a schedule that stays above it.")
    original = _original(stock)
    if original is not None:
        lcm = diffusers.LCMScheduler(**path, timestep_scaling=SKIP, original_inference_steps=original)
        yield replace(stock, scheduler=lcm), stock.told


def _original(stock: Timetable) -> int | None:
    """Return the length of the first grid of LCMScheduler and TCDScheduler that has all time steps, if there is one."""
    for original in range(max(stock.seen), LEVELS + 1):
        if all(_same(_lcm_grid(original, count), steps) for count, steps in stock.seen.items()):
            return original
    return None


def _deterministic(stock: Timetable, path: Mapping[str, Any]) -> Iterator[Way]:
    """Yield DDIMScheduler with even steps that end at the data."""
    rest = {"set_alpha_to_one": True, "clip_sample": False, "timestep_spacing": "trailing"}
    yield replace(stock, scheduler=diffusers.DDIMScheduler(**path, **rest)), stock.told


def _lcm_grid(original: int, count: int) -> list[float]:
    """Return LCMScheduler's own time steps: every so-manieth of ``original`` even ones, from the noisiest on."""
    apart = LEVELS // original
    return [float(apart * (original - i * original // count) - 1) for i in range(count)]


def _walk(scheduler: Any, count: int, told: Mapping[str, Any]) -> list[float]:
    """Return the time steps that a scheduler asks at, as a pipeline sets them; none where its steps do not meet."""
    scheduler.set_timesteps(**told or {"num_inference_steps": count})
    steps = [float(each) for each in scheduler.timesteps]
    if isinstance(scheduler, diffusers.DDIMScheduler):  # goes so far with every step, wherever the next one begins
        ends = [step - LEVELS // count for step in steps]
        return steps if ends[:-1] == steps[1:] and ends[-1] < 0 else []
    return steps


def _kind(student: Student) -> str:
    return type(student.pipe.pipeline).__name__


def _arguments(student: Student) -> Collection[str]:
    """Return what the stock call takes."""
    return signature(type(student.pipe.pipeline).__call__).parameters


def _same(found: Sequence[float], wanted: Sequence[float]) -> bool:
    return len(found) == len(wanted) and all(abs(a - b) < CLOSE for a, b in zip(found, wanted, strict=True))


def _unknown(prediction: object, known: str) -> str:
    return (
        f"The student's network predicts {type(prediction).__name__}, which stock schedulers of this path do not know; "
        f"they know {known}. Export a student that predicts what its teacher does."
    )
