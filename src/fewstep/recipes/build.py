"""From plain values to pieces: the annotation of each field says what may stand there.

A YAML key names a public class of the module that keeps the pieces of that kind (case and underscores do not matter:
``unet``, ``dmd_solver``), or a class anywhere by its dotted path.  There is no other registry.
"""

import importlib
import inspect
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

from fewstep import endpoints, guidance, pairs, points, predict, scalars, solvers, terms, times, training
from fewstep.errors import RecipeError, nearest
from fewstep.labels import Label
from fewstep.levels import AtHome, Levels, OnLevels
from fewstep.process import EDM, Linear, Process, TrigFlow
from fewstep.recipes.read import Document
from fewstep.sampling import Sampler
from fewstep.vp import VP

__all__ = ["Builder", "choices"]

P = TypeVar("P")

HOMES: dict[type, str] = {
    endpoints.Endpoint: "fewstep.endpoints",
    guidance.Guidance: "fewstep.guidance",
    pairs.Pairs: "fewstep.pairs",
    pairs.Which: "fewstep.pairs",
    points.Points: "fewstep.points",
    predict.Prediction: "fewstep.predict",
    scalars.Anneal: "fewstep.scalars",
    solvers.Solver: "fewstep.solvers",
    terms.Backtracking: "fewstep.terms",
    terms.Bridge: "fewstep.terms",
    terms.DensityRatio: "fewstep.terms",
    terms.Divergence: "fewstep.terms",
    terms.Estimator: "fewstep.terms",
    terms.GanLoss: "fewstep.terms",
    terms.Guide: "fewstep.terms",
    terms.Metric: "fewstep.terms",
    terms.Normaliser: "fewstep.terms",
    terms.Slope: "fewstep.terms",
    terms.Space: "fewstep.terms",
    terms.States: "fewstep.terms",
    terms.Taming: "fewstep.terms",
    terms.Target: "fewstep.terms",
    terms.Term: "fewstep.terms",
    terms.Weight: "fewstep.terms",
    times.Law: "fewstep.times",
    times.Schedule: "fewstep.times",
    training.Coupling: "fewstep.training",
    training.Optimiser: "fewstep.training",
    training.Rollout: "fewstep.training",
    Sampler: "fewstep.sampling",
}


def choices(kind: type) -> dict[str, type]:
    """Return the public classes of a kind by their simplified names."""
    found: list[type] = [EDM, Linear, TrigFlow, VP]
    if kind is not Process:
        home = importlib.import_module(HOMES[kind])
        found = [vars(home)[name] for name in home.__all__ if inspect.isclass(vars(home)[name])]
    found += [Levels, AtHome, OnLevels]  # for any path that is put on the clock of noise levels
    return {_simple(c.__name__): c for c in found if issubclass(c, kind) and not inspect.isabstract(c)}


def _number(key: object) -> object:
    """Return a key of a mapping, of which the document keeps the letters alone: a number where it is one."""
    return int(key) if isinstance(key, str) and key.removeprefix("-").isdecimal() else key


def _simple(name: str) -> str:
    return name.replace("_", "").lower()


@dataclass(frozen=True)
class Builder:
    """Builds pieces out of the values of one document; every error names the path and the line."""

    document: Document

    def build(self, kind: type[P], value: object, path: str) -> P:
        """Build what an annotation asks for.  Raises ``RecipeError``."""
        return cast(P, self._value(kind, value, path))

    def _value(self, kind: Any, value: Any, path: str) -> Any:
        origin, inside = get_origin(kind), get_args(kind)
        if origin in (Union, types.UnionType):
            return self._union(inside, value, path)
        if origin is tuple and inside[-1:] == (Ellipsis,):
            entries = value if isinstance(value, list) else [value]
            return tuple(self._value(inside[0], v, f"{path}.{i}") for i, v in enumerate(entries))
        if origin is tuple and isinstance(value, list) and len(value) == len(inside):
            return tuple(self._value(k, v, f"{path}.{i}") for i, (k, v) in enumerate(zip(inside, value, strict=True)))
        if isinstance(origin, type) and issubclass(origin, Mapping):
            if not isinstance(value, dict):
                raise RecipeError(f"{self.document.where(path)} is {value!r}; accepted are keys with values below it.")
            return {
                self._plain(inside[0], key if inside[0] is str else _number(key), f"{path}.{key}"): self._value(
                    inside[1], v, f"{path}.{key}"
                )
                for key, v in value.items()
            }
        if kind is terms.Objective:
            return self._objective(value, path)
        if kind in HOMES or kind is Process:
            return self._piece(kind, value, path)
        if is_dataclass(kind):
            return self._dataclass(cast(type, kind), value, path)
        return self._plain(kind, value, path)

    def _union(self, kinds: tuple[Any, ...], value: Any, path: str) -> Any:
        if value is None and type(None) in kinds:
            return None
        rest = [kind for kind in kinds if kind is not type(None)]
        named = [kind for kind in rest if kind in HOMES]
        plain = [kind for kind in rest if kind not in HOMES]
        if set(plain) == {int, str}:  # a class by its number or its name
            return self._plain(Label, value, path)
        if named and (isinstance(value, dict) or not plain):
            return self._value(named[0], value, path)
        return self._value(plain[0], value, path)

    def _objective(self, value: Any, path: str) -> terms.Objective:
        """Build ``[{term: settings}, {weight: w, term: settings}]``."""
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise RecipeError(f"{self.document.where(path)} is {value!r}; accepted is a list of terms, '- name: ...'.")
        parts: list[tuple[scalars.Scalar, terms.Term]] = []
        for i, entry in enumerate(value):
            weight = self._value(scalars.Scalar, entry.get("weight", 1.0), f"{path}.{i}.weight")
            named = {key: settings for key, settings in entry.items() if key != "weight"}
            parts.append((weight, self._piece(terms.Term, named, f"{path}.{i}")))
        return terms.Objective(tuple(parts))

    def _piece(self, kind: type, value: Any, path: str) -> Any:
        """Build ``name`` or ``{name: arguments}``."""
        if isinstance(value, str):
            value = {value: None}
        if not isinstance(value, dict) or len(value) != 1:
            raise RecipeError(
                f"{self.document.where(path)} is {value!r}; accepted is one name, or one name with its settings, "
                f"for example {{{next(iter(choices(kind)))}: ...}}. {nearest('', choices(kind))}"
            )
        name, arguments = next(iter(value.items()))
        found = self._find(kind, name, path)
        return self._dataclass(found, arguments, f"{path}.{name}")

    def _find(self, kind: type, name: str, path: str) -> type:
        known = choices(kind)
        if _simple(name) in known:
            return known[_simple(name)]
        if "." in name:
            return self._dotted(kind, name, path)
        raise RecipeError(f"{self.document.where(path)} names {name!r}; {nearest(name, known)} Or give a dotted path.")

    def _dotted(self, kind: type, name: str, path: str) -> type:
        home, _, last = name.rpartition(".")
        try:
            found = vars(importlib.import_module(home))[last]
        except (ImportError, KeyError) as error:
            raise RecipeError(
                f"{self.document.where(path)} names {name!r}, which cannot be imported: {error}"
            ) from error
        if not (inspect.isclass(found) and issubclass(found, kind)):
            raise RecipeError(f"{self.document.where(path)} names {name!r}, which is no {kind.__name__}.")
        return found

    def _dataclass(self, kind: type, arguments: Any, path: str) -> Any:
        """Call a dataclass with its arguments built; a lone value is the first field."""
        known = {f.name.rstrip("_"): f for f in fields(kind) if f.init}
        if arguments is None:
            arguments = {}
        if not isinstance(arguments, dict) or self._lone_piece(kind, arguments):
            arguments = {next(iter(known), ""): arguments}
        for key in arguments:
            if key not in known:
                raise RecipeError(f"{self.document.where(f'{path}.{key}')} is an unknown key; {nearest(key, known)}")
        hints = get_type_hints(kind)
        for key, f in known.items():
            if key not in arguments and f.default is MISSING and f.default_factory is MISSING:
                raise RecipeError(f"{self.document.where(path)} lacks {key!r}; its keys are {', '.join(known)}.")
        built = {
            known[key].name: self._value(hints[known[key].name], value, f"{path}.{key}".lstrip("."))
            for key, value in arguments.items()
        }
        try:
            return kind(**built)
        except RecipeError as error:
            raise RecipeError(f"{self.document.where(path)}: {error}") from error

    def _lone_piece(self, kind: type, arguments: dict[str, Any]) -> bool:
        """Say whether ``{karras: ...}`` stands for the first field of a class that has no field of that name."""
        first = next(iter(fields(kind)), None)
        hint = get_type_hints(kind).get(first.name) if first else None
        if hint not in HOMES or len(arguments) != 1:
            return False
        return _simple(next(iter(arguments))) in choices(cast(type, hint))

    def _plain(self, kind: Any, value: Any, path: str) -> Any:
        try:
            return TypeAdapter(kind).validate_python(value, strict=kind in (bool, str))
        except PydanticSchemaGenerationError as error:
            raise RecipeError(
                f"{self.document.where(path)} is {value!r}; such a value is made while running and cannot be written "
                "in a recipe. Leave it out."
            ) from error
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            name = kind.__name__ if isinstance(kind, type) else str(kind)
            raise RecipeError(
                f"{self.document.where(path)} is {value!r}; accepted is {name} ({reason.lower()}). Mend the value."
            ) from error
