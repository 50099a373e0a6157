"""What a recipe makes of a pipeline can be exported as: known before the training, as the networks are."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fewstep.export import Outlook, outlook
from fewstep.interop import Pipe
from fewstep.jobs.models import pipe_of
from fewstep.jobs.pipelines import KEPT, example_of, inherited
from fewstep.jobs.stages import stage_settings
from fewstep.model import Model
from fewstep.networks import LoraFile, merged
from fewstep.recipes import Recipe, assemble, load_recipe
from fewstep.terms import Objective, Term
from fewstep.training import Turn

__all__ = ["foretold"]


class _Nothing(Term):
    """No cost at all: for a learner that is looked at and never learns."""

    SOURCE = "ours"

    def __call__(self, turn: Turn) -> Tensor:
        """Return zeros."""
        return torch.zeros(len(turn.batch.x0), device=turn.batch.x0.device)


def foretold(recipe: Recipe, settings: Sequence[str], teacher: Model, start: Model | None, pipe: Pipe) -> Outlook:
    """Say in which forms the student of a recipe will be exported, or why not; ``settings`` are those of the recipe.

    The student alone is put together, without an update.  Models that were given are on their devices again after it.
    Raises whatever ``assemble`` raises of the student.
    """
    models = [each for each in (teacher, start) if each is not None]
    devices = [next(each.view.net.parameters()).device for each in models]
    for model in models:
        model.to("cpu")
    try:
        student, file = _untrained(recipe, settings, teacher, start, pipe)
        same = all(student.facts.get(name) == pipe.facts.get(name) for name in KEPT)
        return outlook(student, pipe if same else pipe_of(student), file)
    finally:
        for model, device in zip(models, devices, strict=True):
            model.to(device)


def _untrained(
    recipe: Recipe, settings: Sequence[str], teacher: Model, start: Model | None, pipe: Pipe
) -> tuple[Model, LoraFile | None]:
    """Return the student before its training, and the file of its adapter."""
    origin, begun = start or teacher, False
    if recipe.begins and teacher.facts.get("recipe") != recipe.begins:
        first = stage_settings(settings)
        made, _ = _untrained(load_recipe(recipe.begins, first), first, teacher, None, pipe)
        teacher, begun = replace(made, view=replace(made.view, net=merged(made.view.net))), True
    spec, example = recipe.learners["student"], example_of(pipe, 1)
    spec = replace(spec, objective=Objective(((1.0, _Nothing()),)), averages={})
    alone = replace(recipe, learners={"student": spec}, frozen={}, pairs=None, keep="", shares={}, unjudged=())
    assembly = assemble(alone, example, len(teacher.classes), teacher, 0, origin)
    facts, net = inherited(recipe, teacher, start), assembly.student.net
    shape, classes, condition = teacher.shape, teacher.classes, teacher.condition
    student = Model(assembly.student, recipe.sampler, shape, classes, assembly.network, facts, condition)
    if spec.lora is None or assembly.base is None:
        return student, None
    file = assembly.base.file(net, spec.lora)
    stands_on_it = begun and spec.from_ == "teacher"
    return student, replace(file, base=f"of the student of {recipe.begins}") if stands_on_it else file
