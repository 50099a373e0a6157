"""From a recipe, the data and a teacher to learners that can take turns."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fewstep.batch import Batch
from fewstep.denoiser import Denoiser, Denoises, Moved
from fewstep.draws import seed_for
from fewstep.errors import RecipeError, nearest
from fewstep.guidance import Guidance
from fewstep.model import Model
from fewstep.networks import Adapted, Headed, SecondTime, adopt_kept, build_network, complete, settings_of
from fewstep.predict import EDM
from fewstep.process import Process
from fewstep.recipes.classes import refuse_unknown_classes
from fewstep.recipes.rehearse import rehearse
from fewstep.recipes.schema import FrozenSpec, LearnerSpec, Recipe
from fewstep.recipes.share import Base
from fewstep.sharing import copy_sharing, shared_names, tie, untie
from fewstep.tapped import tapped
from fewstep.training import Learner, OneStep, Rollout, Training

__all__ = ["Assembly", "assemble", "guide"]

ADDED = ("context.until.", "context.scale.", "motion.", "pools.", "backbone.time_embedding.cond_proj.")
"""Parts that a network may lack: silent when new, and pools means."""


@dataclass(frozen=True)
class Assembly:
    """Learners ready to train, the words that describe the student's network, and the frozen networks beside it.

    ``base`` is what an adapter of the student stands on: the teacher as learners share it, or the origin.
    """

    training: Training
    network: Mapping[str, Any]
    keep: str
    beside: tuple[nn.Module, ...] = ()
    base: Base | None = None

    @property
    def student(self) -> Denoiser:
        """The view of the student that is sampled, judged and saved: an average, or the weights themselves."""
        learner = self.training.learners["student"]
        return replace(learner.view, net=learner.followers[self.keep].net if self.keep else learner.bare)


def assemble(
    recipe: Recipe, example: Batch, classes: int, teacher: Model | None, seed: int, origin: Model | None = None
) -> Assembly:
    """Build the learners of a recipe for data of ``classes`` classes, of which ``example`` is a batch.

    ``origin`` is the model that was given first, where the teacher is what another recipe made of it.
    Raises ``RecipeError`` when the recipe needs a teacher or an origin and there is none, and when the student of a
    consistency objective lacks the boundary ``f(x, t) = x``, and when it names a class that there is not.
    """
    if recipe.needs_teacher and teacher is None:
        raise RecipeError("this recipe distils a teacher, and none was given; train one first with `fewstep train`.")
    _refuse_without(origin, recipe)
    refuse_unknown_classes(recipe, classes)
    like = example.x0
    process = _process(recipe, like, teacher)
    base = None if teacher is None else Base.of(teacher, recipe.base)
    first = base if origin is None or origin is teacher else Base.of(origin, recipe.base)
    learners, networks = {}, {}
    with torch.random.fork_rng([]):
        for name, spec in recipe.learners.items():
            torch.manual_seed(seed_for(seed, "weights", name))
            given = (origin, first) if origin is not None and spec.from_ == "origin" else (teacher, base)
            view, networks[name] = _view(spec, process, example, classes, given)
            view = view if spec.time_share is None else replace(view, time_share=spec.time_share)
            view, networks[name] = _with_adapter(view, networks[name], spec, example, classes)
            _graft(view.net, spec, origin)
            view = _with_heads(view, spec, example, classes)
            learners[name] = _learner(view, spec, recipe.steps, given[1])
    beside: dict[str, Denoiser] = {}
    if teacher is not None and base is not None:
        known = {"teacher": (teacher, base), "origin": (origin or teacher, None)}
        beside = {name: _frozen(*known[spec.from_ or "teacher"], spec) for name, spec in recipe.frozen.items()}
    frozen = {name: guide(moved(view, process, like), recipe.frozen[name].guidance) for name, view in beside.items()}
    training = Training(learners, _rollout(recipe), frozen, recipe.steps, seed, probe=max(recipe.steps // 50, 1))
    rehearse(training, example)
    own = first if recipe.learners["student"].from_ == "origin" else base
    return Assembly(training, networks["student"], recipe.keep, tuple(view.net for view in beside.values()), own)


def moved(view: Denoiser, process: Process, like: Tensor) -> Denoises:
    """Return the view on another path: the same network where it is the same denoiser there, else a wrapper.

    A network that is fed scaled x and the noise level (the prediction ``edm`` with noise labels) does not notice.
    """
    if view.process == process:
        return view
    exact, candidate = Moved(view, process), replace(view, process=process)
    few = like[:4]
    t = torch.linspace(0.2, 0.8, len(few), dtype=torch.float64) * process.t_max
    with torch.no_grad():
        same = torch.allclose(candidate(few, t), exact(few, t), atol=1e-3)
    return candidate if same else exact


def guide(view: Denoises, rules: Sequence[Guidance]) -> Denoises:
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
    known = teacher.view.process.sigma_data if teacher is not None else round(float(like.std()), 3)
    measured = known if recipe.sigma_data is None else recipe.sigma_data
    return replace(recipe.process, sigma_data=measured)  # type: ignore[type-var]


def _view(
    spec: LearnerSpec, process: Process, example: Batch, classes: int, given: tuple[Model | None, Base | None]
) -> tuple[Denoiser, dict[str, Any]]:
    """Build a learner's network, with the teacher's weights when it comes from there: a copy, or the very same."""
    shape, (teacher, base) = tuple(example.x0.shape[1:]), given
    if spec.from_ is None or teacher is None or base is None:
        condition = () if example.c is None else tuple(example.c.shape[1:])
        words = complete(spec.network or {}, shape, classes, condition)
        words[next(iter(words))] |= dict.fromkeys((*spec.inputs, *(["second_time"] if spec.second_time else [])), True)
        return Denoiser(build_network(words), process, spec.prediction or EDM(), spec.second_time), words
    view = _on_path(teacher.view, process, shape)
    view = replace(view, prediction=spec.prediction or view.prediction)
    if not teacher.network:
        return _second_time(replace(view, net=_body(view.net, {}, spec, base)), {}, spec, shape)
    name, settings = next(iter(teacher.network.items()))
    changed = {name: dict(settings) | dict(spec.network or {}) | dict.fromkeys(spec.inputs, True)}
    if spec.second_time and "second_time" in settings_of(changed):
        changed[name]["second_time"] = True
        view = replace(view, second_time=True)
    net = _body(view.net, {} if changed == teacher.network else changed, spec, base)
    return _second_time(replace(view, net=net), changed, spec, shape)


def _on_path(view: Denoiser, process: Process, shape: Sequence[int]) -> Denoiser:
    """Return the teacher's view on the student's path; raise ``RecipeError`` when its network cannot live there."""
    found = moved(view, process, torch.randn(4, *shape))
    if not isinstance(found, Denoiser):
        raise RecipeError(
            f"a student cannot begin with the teacher's weights on the path {process}: its network has learned on "
            f"{view.process} with the prediction {type(view.prediction).__name__} and would be fed something else. "
            "Leave 'process' out, give it 'noise_label: true' for an edm network, or give the learner a 'network'."
        )
    return found


def _second_time(
    view: Denoiser, words: dict[str, Any], spec: LearnerSpec, shape: Sequence[int]
) -> tuple[Denoiser, dict[str, Any]]:
    """Give the view a second time when its learner wants one: the network's own, or one around it."""
    if not spec.second_time or view.second_time:
        return view, words
    around = {"secondtime": {"body": words, "channels": shape[0]}}
    return replace(view, net=SecondTime(view.net, shape[0]), second_time=True), around


def _with_adapter(
    view: Denoiser, words: dict[str, Any], spec: LearnerSpec, example: Batch, classes: int
) -> tuple[Denoiser, dict[str, Any]]:
    """Put the network into an adapter at the parts that its learner names; say so in its words."""
    if not spec.adapter:
        return view, words
    few = example.cut(0, 2)
    t = torch.full((len(few.x0),), view.process.t_max / 2, dtype=torch.float64)
    with torch.no_grad():
        taps = {tap: tapped(view, [tap], few.x0, t, few.c)[0].shape[1] for tap in spec.adapter}
    condition = () if few.c is None else tuple(few.c.shape[1:])
    settings = {"taps": taps, "classes": classes, "condition": list(condition)}
    return replace(view, net=Adapted(view.net, taps, classes, condition)), {"adapted": {"body": words, **settings}}


def _body(trained: nn.Module, changed: Mapping[str, Any], spec: LearnerSpec, base: Base) -> nn.Module:
    """Return the trained network, with changed settings if there are any: a copy, or an adapter on its weights."""
    if spec.lora is None and not _borrows(spec):
        return _grown(trained, changed) if changed else copy_sharing(trained, ()).requires_grad_(True)
    net = tie(_grown(trained, changed), trained) if changed else copy_sharing(trained, trained.parameters())
    return adopt_kept(net, base.kept) if spec.lora is None else base.adapted(net, spec.lora)


def _borrows(spec: LearnerSpec) -> bool:
    """Say whether the learner is a critic on features of the teacher that do not all learn."""
    return spec.heads is not None and bool(spec.only) and spec.from_ is not None


def _grown(trained: nn.Module, words: Mapping[str, Any]) -> nn.Module:
    """Return a new network with the trained weights; parts that only the new one has start silent."""
    net = build_network(words)
    missing, unexpected = net.load_state_dict(trained.state_dict(), strict=False)
    strange = [name for name in (*missing, *unexpected) if not name.startswith(ADDED)]
    if strange:
        raise RecipeError(f"the teacher's weights do not fit the changed network {dict(words)}: {strange[:3]} differ.")
    return net


def _frozen(model: Model, base: Base | None, spec: FrozenSpec) -> Denoiser:
    """Return the view of a model that stays as it is, with the parts that were asked for."""
    view = model.view
    if spec.network is not None:
        if not model.network:
            raise RecipeError(
                f"a frozen network is asked for with the settings {dict(spec.network)}, but that of the model was "
                "made in Python, not named in a recipe. Give a model of a named network, or leave 'network' out."
            )
        name, settings = next(iter(model.network.items()))
        net = tie(_grown(view.net, {name: {**settings, **spec.network}}), view.net)
        view = replace(view, net=net if base is None else adopt_kept(net, base.kept))
    elif base is not None:
        view = replace(view, net=base.kept)
    view.net.requires_grad_(False).eval()
    return view


def _graft(net: nn.Module, spec: LearnerSpec, origin: Model | None) -> None:
    """Overwrite the weights that are to come from the model that was given first."""
    if spec.graft is None or origin is None:
        return
    own, theirs = net.state_dict(), origin.view.net.state_dict()
    names = [name for name in own if re.search(spec.graft, name)]
    if not names:
        parts = {name.split(".")[0] for name in own}
        raise RecipeError(f"no weight of the network matches graft: {spec.graft!r}; {nearest(spec.graft, parts)}")
    for name in names:
        if name not in theirs or theirs[name].shape != own[name].shape:
            raise RecipeError(
                f"graft: {spec.graft!r} takes {name!r} of shape {list(own[name].shape)} from the model that was given "
                "first, which has no such weight. Give a model that has this part, or another pattern."
            )
    net.load_state_dict(own | {name: theirs[name] for name in names})


def _refuse_without(origin: Model | None, recipe: Recipe) -> None:
    if recipe.needs_origin and origin is None:
        raise RecipeError(
            "this recipe takes parts from the model that was given first ('graft', 'from: origin'), and only the "
            f"result of {recipe.begins or 'another recipe'} is known. Give the teacher which that one had distilled."
        )


def _with_heads(view: Denoiser, spec: LearnerSpec, example: Batch, classes: int) -> Denoiser:
    if spec.heads is None:
        return view
    few = example.cut(0, 2)
    label = torch.zeros(len(few.x0), dtype=few.x0.dtype)
    levels = view.process.label(torch.tensor(spec.heads.levels, dtype=torch.float64) * view.time_share).tolist()
    return replace(view, net=Headed(view.net, spec.heads, (few.x0, label, few.c), classes, levels))


def _learner(view: Denoiser, spec: LearnerSpec, steps: int, base: Base | None) -> Learner:
    kept = None
    if spec.lora is not None and base is not None:
        base.begin(view.net, spec.lora)
        kept = base.kept
    elif base is not None and _borrows(spec):
        kept = base.kept
        _own(view.net, spec.only, base)
    clip = math.inf if spec.clip is None else spec.clip
    after = int(spec.after * steps if spec.after < 1 else spec.after)
    pace = (spec.every, after, spec.accumulate, clip)
    return Learner(view, spec.objective, spec.optimiser, *pace, spec.averages, only=spec.only, base=kept)


def _own(net: nn.Module, only: Sequence[str], base: Base) -> None:
    """Give a critic weights of its own where it is to change those of the teacher."""
    names = [name for name in shared_names(net, base.kept) if any(re.search(each, name) for each in only)]
    if names and base.bits is not None:
        raise RecipeError(
            f"{names[0]!r} is to learn in a critic on a teacher that is kept in {base.bits}, which cannot change. "
            "Accepted is 'only: [^heads]' there; or leave 'base' out."
        )
    untie(net, names)


def _rollout(recipe: Recipe) -> Rollout:
    return recipe.rollout or OneStep(float(recipe.sampler.schedule.points(1)[0]))
