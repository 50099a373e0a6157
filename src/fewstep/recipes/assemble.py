"""From a recipe, the data and a teacher to learners that can take turns."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fewstep.batch import Batch
from fewstep.denoiser import Denoiser, Denoises
from fewstep.draws import seed_for
from fewstep.errors import RecipeError
from fewstep.flowmap import check_boundary
from fewstep.guidance import Guidance
from fewstep.model import Model
from fewstep.networks import Headed, SecondTime, build_network, complete, settings_of
from fewstep.predict import EDM
from fewstep.process import Process
from fewstep.recipes.schema import LearnerSpec, Recipe
from fewstep.terms import Consistency
from fewstep.training import Learner, OneStep, Rollout, Training

__all__ = ["Assembly", "assemble", "guide"]


@dataclass(frozen=True)
class Assembly:
    """Learners ready to train, and the words that describe the student's network."""

    training: Training
    network: Mapping[str, Any]
    keep: str

    @property
    def student(self) -> Denoiser:
        """The view of the student that is sampled, judged and saved: an average, or the weights themselves."""
        learner = self.training.learners["student"]
        return replace(learner.view, net=learner.followers[self.keep].net if self.keep else learner.bare)


def assemble(recipe: Recipe, example: Batch, classes: int, teacher: Model | None, seed: int) -> Assembly:
    """Build the learners of a recipe for data of ``classes`` classes, of which ``example`` is a batch.

    Raises ``RecipeError`` when the recipe needs a teacher and there is none, and when the student of a consistency
    objective lacks the boundary ``f(x, t) = x``.
    """
    if recipe.needs_teacher and teacher is None:
        raise RecipeError("this recipe distils a teacher, and none was given; train one first with `fewstep train`.")
    like, c = example.x0, example.c
    process = _process(recipe, like, teacher)
    learners, networks = {}, {}
    with torch.random.fork_rng([]):
        for name, spec in recipe.learners.items():
            torch.manual_seed(seed_for(seed, "weights", name))
            view, networks[name] = _view(spec, process, tuple(like.shape[1:]), classes, teacher)
            view = _with_heads(view, spec, like, c)
            learners[name] = _learner(view, spec, recipe.steps)
    frozen: dict[str, Denoises] = {}
    if teacher is not None:
        teacher.view.net.requires_grad_(False).eval()
        frozen = {name: guide(teacher.view, spec.guidance) for name, spec in recipe.frozen.items()}
    training = Training(learners, _rollout(recipe), frozen, recipe.steps, seed, probe=max(recipe.steps // 50, 1))
    _check_boundaries(training, like, c)
    return Assembly(training, networks["student"], recipe.keep)


def guide(view: Denoiser, rules: Sequence[Guidance]) -> Denoises:
    """Return the denoiser under all rules, the first one innermost."""
    guided: Denoises = view
    for rule in rules:
        guided = rule(guided)
    return guided


def _process(recipe: Recipe, like: Tensor, teacher: Model | None) -> Process:
    if recipe.process is None and teacher is not None:
        return teacher.view.process
    if recipe.process is None:
        raise RecipeError("a recipe without a teacher needs a 'process'.")
    measured = round(float(like.std()), 3) if recipe.sigma_data is None else recipe.sigma_data
    return replace(recipe.process, sigma_data=measured)  # type: ignore[type-var]


def _view(
    spec: LearnerSpec, process: Process, shape: Sequence[int], classes: int, teacher: Model | None
) -> tuple[Denoiser, dict[str, Any]]:
    """Build a learner's network, with the teacher's weights when it comes from there."""
    if spec.from_ is None or teacher is None:
        words = complete(spec.network or {}, shape, classes)
        return Denoiser(build_network(words), process, spec.prediction or EDM(), spec.second_time), words
    view = replace(teacher.view, process=process, prediction=spec.prediction or teacher.view.prediction)
    if not teacher.network:
        return _second_time(replace(view, net=_copied(view.net)), spec, shape), {}
    name, settings = next(iter(teacher.network.items()))
    changed = {name: dict(settings) | dict(spec.network or {})}
    if spec.second_time and "second_time" in settings_of(changed):
        changed[name]["second_time"] = True
        view = replace(view, second_time=True)
    net = _copied(view.net) if changed == teacher.network else _grown(view.net, changed)
    return _second_time(replace(view, net=net), spec, shape), changed


def _second_time(view: Denoiser, spec: LearnerSpec, shape: Sequence[int]) -> Denoiser:
    """Give the view a second time when its learner wants one: the network's own, or one around it."""
    if not spec.second_time or view.second_time:
        return view
    return replace(view, net=SecondTime(view.net, shape[0]), second_time=True)


def _copied(net: nn.Module) -> nn.Module:
    return copy.deepcopy(net).requires_grad_(True)


def _grown(trained: nn.Module, words: Mapping[str, Any]) -> nn.Module:
    """Return a new network with the trained weights; a second time that only the new one has starts silent."""
    net = build_network(words)
    missing, unexpected = net.load_state_dict(trained.state_dict(), strict=False)
    strange = [name for name in missing if not name.startswith("until.")] + list(unexpected)
    if strange:
        raise RecipeError(f"the teacher's weights do not fit the changed network {dict(words)}: {strange[:3]} differ.")
    return net


def _with_heads(view: Denoiser, spec: LearnerSpec, like: Tensor, c: Tensor | None) -> Denoiser:
    if spec.heads is None:
        return view
    few = like[:2]
    label = torch.zeros(len(few), dtype=few.dtype)
    return replace(view, net=Headed(view.net, spec.heads, (few, label, None if c is None else c[:2])))


def _learner(view: Denoiser, spec: LearnerSpec, steps: int) -> Learner:
    clip = math.inf if spec.clip is None else spec.clip
    after = int(spec.after * steps if spec.after < 1 else spec.after)
    return Learner(view, spec.objective, spec.optimiser, spec.every, after, spec.accumulate, clip, spec.averages)


def _rollout(recipe: Recipe) -> Rollout:
    return recipe.rollout or OneStep(float(recipe.sampler.schedule.points(1)[0]))


def _check_boundaries(training: Training, like: Tensor, c: Tensor | None) -> None:
    """Refuse a consistency student without the boundary that the objective relies on."""
    for learner in training.learners.values():
        for _, term in learner.terms.items():
            if isinstance(term, Consistency):
                few = slice(0, 4)
                learner.bare.eval()
                check_boundary(learner.view, like[few], None if c is None else c[few], float(term.pairs.lowest))
