"""Networks by name, as recipes and saved runs state them."""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from fewstep.errors import RecipeError, nearest

__all__ = ["build_network", "complete", "described", "settings_of"]

HOME = "fewstep.networks"
PARTS = {"ConditionEmbedding", "Context", "Perturb", "TimeEmbedding", "TokenPool"}
NOT_NETWORKS = PARTS | {"Headed", "Heads", "Kept", "Lora", "LoraFile", "Reads"}


def complete(
    spec: Mapping[str, Any], shape: Sequence[int], classes: int, condition: Sequence[int] = ()
) -> dict[str, Any]:
    """Return ``{name: arguments}`` with what the data decide filled in.

    That is channels or features, classes, and the shape of one condition where it is no label, such as (features,); the
    same for the network inside (``body``).
    """
    name, given = _only(spec)
    known = inspect.signature(_find(name).__init__).parameters
    from_data: dict[str, Any] = {"channels": shape[0], "features": shape[0], "classes": classes}
    from_data |= {"condition": list(condition)} if condition else {}
    if isinstance(given.get("body"), Mapping):
        given["body"] = complete(given["body"], shape, classes, condition)
    return {name: {key: value for key, value in from_data.items() if key in known} | given}


def build_network(spec: Mapping[str, Any], own: nn.Module | None = None) -> nn.Module:
    """Build ``{name: arguments}``; the name is that of a network here, or a dotted path to any ``nn.Module``.

    An argument ``body`` is the network inside, in the same words; ``own`` stands where there are no words.
    Raises ``RecipeError`` for an unknown name, an unknown argument, and arguments the network refuses.
    """
    if own is not None and not spec:
        return own
    name, arguments = _only(spec)
    kind = _find(name)
    known = settings_of(spec)
    for key in arguments:
        if key not in known:
            raise RecipeError(f"the network {name!r} has no setting {key!r}; {nearest(key, known)}")
    if isinstance(arguments.get("body"), Mapping):
        arguments["body"] = build_network(arguments["body"], own)
    try:
        return kind(**arguments)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"the network {name!r} cannot be built with {dict(arguments)}: {error}") from error


def described(spec: Mapping[str, Any]) -> bool:
    """Say whether words describe a network to its innermost body, so that nobody's own is needed to build it."""
    arguments = _only(spec)[1] if spec else {}
    return bool(spec) and ("body" not in arguments or described(arguments["body"]))


def settings_of(spec: Mapping[str, Any]) -> list[str]:
    """Return the names of the settings that the network of ``{name: arguments}`` knows."""
    return [key for key in inspect.signature(_find(_only(spec)[0]).__init__).parameters if key != "self"]


def _only(spec: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if len(spec) != 1:
        raise RecipeError(f"a network is {dict(spec)}; accepted is one name with its settings: {{unet: {{...}}}}.")
    name, arguments = next(iter(spec.items()))
    return name, dict(arguments or {})


def _find(name: str) -> type[nn.Module]:
    home = importlib.import_module(HOME)
    known = {each.lower(): each for each in home.__all__ if inspect.isclass(vars(home)[each])}
    known = {short: each for short, each in known.items() if each not in NOT_NETWORKS}
    if name.lower() in known:
        found: type[nn.Module] = vars(home)[known[name.lower()]]
        return found
    place, _, last = name.rpartition(".")
    if not place:
        raise RecipeError(f"there is no network {name!r}; {nearest(name, known)} Or give a dotted path to your own.")
    try:
        own = vars(importlib.import_module(place))[last]
    except (ImportError, KeyError) as error:
        raise RecipeError(f"the network {name!r} cannot be imported: {error}. Give module.Class.") from error
    if not (inspect.isclass(own) and issubclass(own, nn.Module)):
        raise RecipeError(f"{name!r} is no torch.nn.Module class; give module.Class of one.")
    return own
