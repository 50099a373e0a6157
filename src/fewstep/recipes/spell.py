"""From pieces back to plain values: what ``Builder`` reads, so that a saved run says in words what it is."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

__all__ = ["spell"]


def spell(piece: Any, defaults: bool = True) -> Any:
    """Return ``{class name: {field: value}}`` for a piece, lists for tuples, and plain values as they are.

    Without ``defaults`` fields are left out that have their default.
    """
    if is_dataclass(piece) and not isinstance(piece, type):
        given = {f.name: getattr(piece, f.name) for f in fields(piece) if f.init and (defaults or _chosen(piece, f))}
        return {_name(type(piece)): {name: spell(value, defaults) for name, value in given.items()}}
    if isinstance(piece, Mapping):
        return {key: spell(value, defaults) for key, value in piece.items()}
    if isinstance(piece, tuple | list):
        return [spell(entry, defaults) for entry in piece]
    return piece


def _chosen(piece: Any, field: "Field[Any]") -> bool:
    """Say whether a field has another value than its default."""
    value = getattr(piece, field.name)
    if field.default_factory is not MISSING:
        return bool(value != field.default_factory())
    return bool(value != field.default)


def _name(kind: type) -> str:
    """Return the class name in lower case for a piece of fewstep, the dotted path for anybody else's."""
    own = kind.__module__.split(".")[0] == "fewstep"
    return kind.__name__.lower() if own else f"{kind.__module__}.{kind.__qualname__}"
