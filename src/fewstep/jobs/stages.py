"""What comes before a training: the recipe that it begins with, and a look ahead at what would be refused then."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from fewstep.data import Data
from fewstep.jobs.ask import resized
from fewstep.model import Model
from fewstep.networks import merged
from fewstep.recipes import Assembly, Recipe, assemble, load_recipe, numbered

__all__ = ["BEGINS", "foresee", "stage_settings", "student_of"]

BEGINS = "begins."  # what the settings for the stage before begin with
ITEMS = 8  # of the data, that are looked at beforehand


def stage_settings(settings: Sequence[str]) -> list[str]:
    """Return the settings that are meant for the recipe with which another one begins."""
    return [setting.removeprefix(BEGINS) for setting in settings if setting.startswith(BEGINS)]


def student_of(assembly: Assembly, recipe: Recipe, data: Data) -> Model:
    """Return the student of a recipe as it is now."""
    shape, classes = tuple(data.shape), tuple(data.classes)
    words, asked = assembly.network, data.condition
    return Model(assembly.student, recipe.sampler, shape, classes, words, condition=asked, at_once=recipe.at_once)


def foresee(
    recipe: Recipe, data: Data, settings: Sequence[str], teacher: Model | None, start: Model | None = None
) -> Model:
    """Put a recipe together as it will be when its pairs are there and the recipe that it ``begins`` with is done.

    A few items of the data, noise, and the first recipe's student before its training stand in for what there will be;
    nothing is drawn from torch's global generator.  Returns the student, untrained, on the CPU as the models that are
    given.  Raises whatever ``assemble`` raises of this recipe or the first one, which costs no training yet.
    """
    recipe, origin = numbered(recipe, data.classes), start or teacher
    if recipe.begins and (teacher is None or teacher.facts.get("recipe") != recipe.begins):
        first = stage_settings(settings)
        teacher = foresee(load_recipe(recipe.begins, first), data, first, teacher)
    elif recipe.begins:
        origin = start
    for model in filter(None, (teacher, origin)):
        model.to("cpu")
    example = resized(data.batch(range(min(len(data), ITEMS))), tuple(data.shape), recipe.pairs)
    with torch.random.fork_rng([]):
        assembly = assemble(recipe, example, len(data.classes), teacher, 0, origin)
    student = student_of(assembly, recipe, data)
    net = student.view.net if recipe.learners["student"].lora is None else merged(student.view.net)
    return replace(student, view=replace(student.view, net=net.eval().requires_grad_(False)))
