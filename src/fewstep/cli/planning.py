"""``fewstep plan``: memory, calls and hours of a distillation, before it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import nn

from fewstep.cli.planned import change_words, memory_words, networks_table, parts_words, time_words
from fewstep.cli.training import Asked, Given, Order, few_step_recipe, open_given
from fewstep.cli.words import cache_folder, say, wide_console
from fewstep.errors import DataError
from fewstep.interop import Pipe, is_pipeline
from fewstep.jobs import judge_for
from fewstep.jobs.advise import changes
from fewstep.jobs.ask import Ask, resized
from fewstep.jobs.models import pipe_of
from fewstep.jobs.origin import data_for
from fewstep.jobs.pipelines import example_of, unweighed
from fewstep.jobs.plan import plan
from fewstep.model import Model
from fewstep.recipes import Recipe

__all__ = ["Machine", "Target", "print_plan", "shape_of", "size_of"]

EXAMPLES = 64  # items of the data that are looked at


@dataclass(frozen=True)
class Machine:
    """What to plan for: so many devices, each with so many GB (None: what this one has)."""

    devices: int = 1
    memory: float | None = None


@dataclass(frozen=True)
class Target:
    """What student is meant: the most steps, the resolution ``WxH``, the rank of an adapter (None: as by default)."""

    steps: int | None = None
    resolution: str | None = None
    rank: int | None = None


def print_plan(order: Order, asked: Asked, target: Target, machine: Machine) -> None:
    """Plan a distillation and print what came out."""
    if is_pipeline(asked.place):
        asked = unweighed(replace(asked, size=size_of(asked, target.resolution)))
    given = open_given(order, asked, target.steps, target.rank)
    pipe = given.pipe or (pipe_of(given.teacher) if "pipeline" in given.teacher.facts else None)
    if pipe is None:
        ask = _of_model(given, Path(asked.place), target.resolution)
    else:
        ask = _of_pipeline(given, pipe, target.resolution)
    memory = None if machine.memory is None else machine.memory * 1e9
    ask = replace(ask, devices=machine.devices, memory=memory)
    found = plan(ask)
    wide_console().print(networks_table(found.memory))
    parts = {} if pipe is None else parts_words(_parts(pipe))
    say({"recipe": order.recipe} | memory_words(found.memory) | parts | time_words(found))
    if given.recipe.begins:
        begun = f"{order.recipe} begins with {given.recipe.begins}, whose own hours are not in this: plan it too"
        say({"before": begun})
    if not found.memory.fits:
        say(change_words(found.memory, changes(ask, found, partial(_changed, given, target.steps))))


def shape_of(teacher: Model, resolution: str | None) -> tuple[int, ...]:
    """Return the shape of an item at a resolution, ``WxH``; that of the teacher's without one."""
    if resolution is None:
        return teacher.shape
    found = _sides(resolution)
    if found is None or len(teacher.shape) != 3:
        raise DataError(
            f"--resolution is {resolution!r}, for a teacher of items of {'x'.join(map(str, teacher.shape))}; accepted "
            "is WIDTHxHEIGHT in pixels, such as 64x64, for a teacher of images. Mend it, or leave it out."
        )
    return (teacher.shape[0], found[1], found[0])


def size_of(asked: Asked, resolution: str | None) -> int | None:
    """Return the side of the images that a pipeline is to make, from ``--size`` or ``--resolution``."""
    if resolution is None:
        return asked.size
    found = _sides(resolution)
    if found is None or found[0] != found[1] or asked.size not in (None, found[0]):
        given = "" if asked.size is None else f", --size {asked.size}"
        raise DataError(
            f"--resolution is {resolution!r}{given}, for a pipeline; accepted is WIDTHxHEIGHT in pixels, both the "
            "same, such as 512x512, as pipelines are distilled with square images. Mend it, or give --size alone."
        )
    return found[0]


def _sides(resolution: str) -> tuple[int, int] | None:
    """Return width and height, None for what is no resolution."""
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", resolution)
    return None if found is None else (int(found[1]), int(found[2]))


def _of_model(given: Given, folder: Path, resolution: str | None) -> Ask:
    """Return what is planned for a teacher of ours, whose data are known."""
    teacher, recipe, data = given.teacher, given.recipe, data_for(given.teacher, folder)
    count = min(EXAMPLES, len(data))
    example = data.batch([i * len(data) // count for i in range(count)])
    shape = shape_of(teacher, resolution)
    judge = judge_for(data, cache=cache_folder()) if shape == teacher.shape else None
    return Ask(recipe, teacher, resized(example, shape, recipe.pairs), len(data), judge)


def _of_pipeline(given: Given, pipe: Pipe, resolution: str | None) -> Ask:
    """Return what is planned for a pipeline, or a student of one: on empty prompts, as data are not needed."""
    if given.pipe is None and resolution is not None:
        raise DataError(
            f"--resolution is {resolution!r}, but this student of a pipeline has the size that it was made for, "
            f"{pipe.size[1]}x{pipe.size[0]}. Leave it out."
        )
    example = resized(example_of(pipe, EXAMPLES), given.teacher.shape, given.recipe.pairs)
    steering = {name: net for name, net in _parts(pipe).items() if name == "controlnet"}
    return Ask(given.recipe, given.teacher, example, 0, origin=given.start, pictures=pipe.decode, besides=steering)


def _parts(pipe: Pipe) -> dict[str, nn.Module]:
    """Return the networks of a pipeline besides the one that denoises."""
    parts = pipe.pipeline.components.items()
    return {name: part for name, part in parts if isinstance(part, nn.Module) and part is not pipe.backbone}


def _changed(given: Given, steps: int | None, settings: Sequence[str]) -> Recipe:
    """Return the recipe with further settings."""
    order = replace(given.order, settings=[*given.order.settings, *settings])
    return few_step_recipe(order, steps)
