"""Two models of one form in one: their weights, weighed."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fewstep.errors import WeightsError
from fewstep.model import Model
from fewstep.networks import merged
from fewstep.store import fingerprint
from fewstep.versions import hardware, versions

__all__ = ["merge"]

SOURCE = "arXiv 2408.14176"  # SwiftBrush v2
APART = "; "  # what stands between sources
TOLD = ("recipe", "source", "data", "seed")


def merge(first: Model, second: Model, weight: float = 0.5) -> Model:
    """Return the model with the weights ``(1 - weight) first + weight second``; its facts say what it is made of.

    Adapters are folded into their bases before.  At 0 and at 1 it is one of the two, bit for bit.  The seconds of
    pairs that both were trained on count once.
    Raises ``WeightsError`` for a weight outside 0 to 1, and for models that differ in anything but their weights.
    Source: SwiftBrush v2, arXiv 2408.14176 (students of one beginning); likewise diversity-rewarded CFG distillation,
    arXiv 2410.06084.
    """
    if not 0 <= weight <= 1:
        raise WeightsError(
            f"the weight of the second model is {weight:g}; accepted is 0 (the first one) to 1 (the second one)."
        )
    _refuse_different(first, second)
    nets = [merged(model.view.net) for model in (first, second)]
    one, two = (net.state_dict() for net in nets)
    _refuse_other_tensors(one, two)
    whole = copy.deepcopy(nets[0])
    whole.load_state_dict({name: _between(tensor, two[name].to(tensor), weight) for name, tensor in one.items()})
    view = replace(first.view, net=whole.eval().requires_grad_(False))
    return replace(first, view=view, facts=_facts(first, second, weight))


def _between(a: Tensor, b: Tensor, weight: float) -> Tensor:
    """Return ``(1 - weight) a + weight b``, and one of them where that is its end."""
    if weight in (0, 1) or not a.is_floating_point():
        return b if weight == 1 else a
    return torch.lerp(a, b, weight)


def _refuse_different(first: Model, second: Model) -> None:
    """Raise for models that are not the same thing with other weights, naming what differs first."""
    for what, one, two in (
        ("networks", first.network, second.network),
        ("processes", first.view.process, second.view.process),
        ("predictions", first.view.prediction, second.view.prediction),
        ("second times", first.view.second_time, second.view.second_time),
        ("shares of time", first.view.time_share, second.view.time_share),
        ("samplers", first.sampler, second.sampler),
        ("shapes", first.shape, second.shape),
        ("classes", first.classes, second.classes),
        ("conditions", first.condition, second.condition),
    ):
        if one != two:
            raise WeightsError(
                f"models with different {what} were to be merged: {one} and {two}. A weight means the same in both "
                "only where all else is equal. Give two students of one teacher by the same recipe, or by recipes with "
                "the same network and sampler."
            )


def _refuse_other_tensors(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> None:
    """Raise for networks, made in Python, whose tensors are not the same by name and shape; counters must be equal."""
    here, there = ({name: list(each.shape) for name, each in some.items()} for some in (one, two))
    differ = sorted(name for name in {*here, *there} if here.get(name) != there.get(name))
    differ += [n for n, a in one.items() if n in two and not a.is_floating_point() and not torch.equal(a, two[n].to(a))]
    if differ:
        raise WeightsError(
            f"networks with different tensors were to be merged: {differ[:3]} differ. Give two models of one network."
        )


def _facts(first: Model, second: Model, weight: float) -> dict[str, Any]:
    """Say what a merged model is made of."""
    parents = (first, second)
    names = [str(model.facts.get("recipe", "a model")) for model in parents]
    data = list(dict.fromkeys(str(model.facts["data"]) for model in parents if "data" in model.facts))
    shares = (1 - weight, weight)
    return {
        "recipe": f"{1 - weight:g} {names[0]} + {weight:g} {names[1]}",
        "source": _sources(parents),
        **({"data": " and ".join(data)} if data else {}),
        "merged": [
            {"weight": share, "weights": fingerprint(model), **{key: model.facts.get(key) for key in TOLD}}
            for share, model in zip(shares, parents, strict=True)
        ],
        "training seconds": round(sum(_seconds(parents, "training seconds")), 1),
        "pair seconds": round(sum(set(_seconds(parents, "pair seconds"))), 1),  # equal ones are of the same pairs
        "hardware": hardware(),
        "versions": versions(),
    }


def _sources(parents: Sequence[Model]) -> str:
    """Return the sources of the parents and that of the merging, each once."""
    known = [str(model.facts["source"]) for model in parents if "source" in model.facts]
    return APART.join(
        dict.fromkeys([each for told in known for each in told.split(APART) if each != SOURCE] + [SOURCE])
    )


def _seconds(parents: Sequence[Model], key: str) -> list[float]:
    return [float(model.facts.get(key, 0)) for model in parents]
