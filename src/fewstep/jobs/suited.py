"""A recipe made to suit the pipeline that it is to distil: its guidance, and times that its samplers can name."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch

from fewstep.guidance import CFG, EditCFG
from fewstep.interop import Bridge, bridge_of, on_levels
from fewstep.jobs.stages import BEGINS, stage_settings
from fewstep.levels import Levels
from fewstep.model import Model
from fewstep.process import Process
from fewstep.recipes import Recipe, load_recipe, read
from fewstep.sampling import FewStep, Sampler
from fewstep.times import Explicit

__all__ = ["computed", "fitting"]

Entries: TypeAlias = Callable[[Sequence[int | float]], list[float]]

LISTED = ("explicit", "levels")  # in a recipe that counts noise levels: lists of them
FIXED = {"segments", "stored_path", "stored_bridge"}  # what has ends of its own, which those of cells have to be among
NEAR = 1e-9  # of times that are the same but for rounding
LEVELLED = ("karras", "rectified")  # schedules that begin at their highest level


def fitting(model: Model, recipe: Recipe) -> Model:
    """Return a pipeline's model on the clock of a recipe: that of noise levels, where its times go beyond the own one's
    end."""
    return on_levels(model) if _counts_levels(recipe.sampler, model.view.process) else model


def computed(name: str, settings: Sequence[str], model: Model) -> list[str]:
    """Return the settings of a recipe, and of the one that it begins with, that follow from a pipeline.

    Its guidance, where neither recipe nor ``settings`` have one of their own, for all that the pipeline itself is
    asked; the parts of its network that an adapter stands behind, that heads judge and whose features are compared;
    noise levels, which are moved down to those at which stock schedulers can ask, also among the ends of the cells that
    are trained; and the times of a walk that sampler and training share, as a list, where fewer steps would leave it or
    no stock scheduler can name them.
    """
    document = read(name).with_settings(settings)
    first = document.values.get("begins")
    before = computed(str(first), stage_settings(settings), model) if first else []
    given = {setting.partition("=")[0] for setting in settings}
    own = [*([] if first else _guided(document.values, model)), *_placed(document.values, model)]
    own = [each for each in own if each.partition("=")[0] not in given]
    sampler, path = load_recipe(name, settings).sampler, model.view.process
    if _counts_levels(sampler, path):
        levels = Levels(path, path.sigma_data)
        least = levels.least if isinstance(sampler, FewStep) and sampler.gamma == 1 else 0.0
        entries = partial(_entries, levels, least)
        own += _on_entries(document.values, entries, "")
        sampler = load_recipe(name, [*settings, *own]).sampler
        if isinstance(sampler, FewStep):
            times = entries(sampler.grid())
            own += [] if isinstance(sampler.schedule, Explicit) else _listing(document.values, times)
            own += [f"{place}.through={times}" for place in _cells(document.values["learners"], "learners")]
    elif isinstance(sampler, FewStep) and _strays(document.values, sampler, path):
        own += _listing(document.values, path.entry(torch.tensor(sampler.grid(), dtype=torch.float64)).tolist())
    return [*own, *(f"{BEGINS}{setting}" for setting in before)]


def _counts_levels(sampler: Sampler, path: Process) -> bool:
    """Say whether the times of a recipe are noise levels: they go beyond the end of the pipeline's own clock."""
    return float(sampler.schedule.points(1)[0]) > path.t_max


def _along(values: Mapping[str, Any]) -> list[str]:
    """Return the rollouts that stop where the recipe's sampler does."""
    schedule = ((values.get("sampler") or {}).get("few_step") or {}).get("schedule")
    rollouts = (values.get("rollout") or {}).items()
    return [name for name, how in rollouts if isinstance(how, Mapping) and schedule and how.get("schedule") == schedule]


def _listing(values: Mapping[str, Any], times: Sequence[float]) -> list[str]:
    """Return settings that give a list of times to the sampler, and to the rollouts that stop where it does."""
    places = ["sampler.few_step", *(f"rollout.{name}" for name in _along(values))]
    return [f"{place}.schedule={{explicit: {list(times)}}}" for place in places]


def _strays(values: Mapping[str, Any], sampler: FewStep, path: Process) -> bool:
    """Say whether a student that learns on its sampler's own walk would be sampled elsewhere: in fewer steps at times
    that are not on it, or beside the times that stock schedulers can name."""
    if isinstance(sampler.schedule, Explicit) or not _along(values):
        return False
    walk = torch.tensor(sampler.grid(), dtype=torch.float64)
    asked = torch.cat([walk, *map(sampler.schedule.points, sampler.made_for)])
    beside = (asked[:, None] - walk).abs().min(1).values > NEAR
    return bool((beside | ((path.entry(asked) - asked).abs() > NEAR)).any())


def _cells(values: object, path: str) -> Iterator[str]:
    """Yield where cells stand whose ends are free: of no trajectories that are stored, of no segments of their own."""
    for key, value in _below(values):
        place = f"{path}.{key}"
        if key == "consistency" and FIXED.isdisjoint(name for part in value.values() for name, _ in _below(part)):
            yield from (f"{place}.pairs.cells" for name, _ in _below(value["pairs"]) if name == "cells")
        else:
            yield from _cells(value, place)


def _guided(values: Mapping[str, Any], model: Model) -> list[str]:
    """Return settings that guide by a pipeline's scale the stored pairs, and the frozen teacher or what terms draw."""
    rule = next((rule for rule in model.sampler.guidance if isinstance(rule, CFG | EditCFG)), None)
    if rule is None:
        return []
    scale = float(rule.scale)
    plain, drawn = f"guidance=[{_spelled(rule)}]", list(_drawn(values, scale, ""))
    found = [f"pairs.{plain}"] if "pairs" in values and not values["pairs"].get("guidance") else []
    if drawn:
        told = (values.get("sampler") or {}).get("few_step") or {}
        return [*found, *drawn, *([f"sampler.few_step.scale={scale}"] if told.get("scale") is not None else [])]
    frozen = values.get("frozen") or {}
    silent = "teacher" in frozen and not any((spec or {}).get("guidance") for spec in frozen.values())
    return [*found, f"frozen.teacher.{plain}"] if silent else found


def _spelled(rule: CFG | EditCFG) -> str:
    """Return a pipeline's guidance as a recipe has it."""
    if isinstance(rule, EditCFG):
        return f"{{edit_cfg: {{scale: {rule.scale}, image: {rule.image}}}}}"
    return f"{{cfg: {rule.scale}}}"


def _placed(values: Mapping[str, Any], model: Model) -> list[str]:
    """Return the parts of a pipeline's network that stand where the recipe names those of a U-Net of ours.

    An adapter stands behind all residual blocks, where there are any.
    """
    net = bridge_of(model.view.net)
    if net is None:
        return []
    learners = values["learners"]
    borrowed = {name for name, spec in learners.items() if spec.get("from")} | {*(values.get("frozen") or {})}
    found = []
    for name in (each for each in learners if each in borrowed):
        spec, place = learners[name], f"learners.{name}"
        if taps := spec.get("adapter"):
            found.append((f"{place}.adapter", taps, [*net.blocks] or _own(net, taps)))
        if heads := spec.get("heads"):
            whole = isinstance(heads, Mapping)
            taps = heads["taps"] if whole else heads
            found.append((f"{place}.heads{'.taps' * whole}", taps, _own(net, taps)))
    for place, features in _features(learners, "learners"):
        if features.get("network", "teacher").partition(".")[0] in borrowed and "taps" in features:
            found.append((f"{place}.taps", features["taps"], _own(net, features["taps"])))
    return [f"{place}=[{', '.join(own)}]" for place, taps, own in found if own != _listed(taps)]


def _own(net: Bridge, taps: str | Sequence[str]) -> list[str]:
    """Return the parts of a pipeline's network in the places of ``taps``, each once."""
    return list(dict.fromkeys(net.part(tap) for tap in _listed(taps)))


def _listed(taps: str | Sequence[str]) -> list[str]:
    return [taps] if isinstance(taps, str) else list(taps)


def _features(values: object, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the spaces of features below ``values``, and where each stands."""
    for key, value in _below(values):
        if key == "features" and isinstance(value, Mapping):
            yield f"{path}.{key}", value
        yield from _features(value, f"{path}.{key}")


def _drawn(values: object, scale: float, path: str) -> Iterator[str]:
    """Yield settings that bring the mean of the guidance scales that terms draw to ``scale``."""
    for key, value in _below(values):
        place = f"{path}.{key}".lstrip(".")
        if key == "scales":  # 1 is no guidance
            yield from (f"{place}.low=1.0", f"{place}.high={2 * scale - 1}")
        elif key == "hidden_scales":
            stretch = 2 * scale / (value["low"] + value["high"])
            yield from (f"{place}.{end}={stretch * value[end]}" for end in ("low", "high"))
        elif key == "negatives":
            yield f"{place}.scale={scale}"
        else:
            yield from _drawn(value, scale, place)


def _below(values: object) -> Iterator[tuple[str | int, Any]]:
    """Yield what is one level down."""
    if isinstance(values, Mapping):
        yield from values.items()
    elif isinstance(values, list):
        yield from enumerate(values)


def _on_entries(values: object, entries: Entries, path: str) -> list[str]:
    """Return settings that move every noise level below ``values``, which stand at ``path``, to one that has a name."""
    found = []
    for key, value in _below(values):
        place, within = f"{path}.{key}".lstrip("."), path.rpartition(".")[2]
        if key in LISTED:
            found += [f"{place}={entries(value)}"]
        elif (key == "start" and within != "cosine") or (key == "high" and within in LEVELLED):
            found += [f"{place}={entries([value])[0]}"]
        else:
            found += _on_entries(value, entries, place)
    return found


def _entries(levels: Levels, least: float, times: Sequence[int | float]) -> list[float]:
    """Return the levels that have names, next to noise levels and below them; those that fall together once.

    ``least`` is the lowest of them: where all the noise is put back, that at which stock schedulers can do so.
    """
    wanted = torch.tensor(times, dtype=torch.float64).clamp_min(least)
    found: list[float] = levels.entry(wanted).tolist()
    return list(dict.fromkeys(found))
