"""From pieces back to plain values: what ``Builder`` reads, so that a saved run says in words what it is."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

__all__ = ["spell"]


def spell(piece: Any) -> Any:
    """Return ``{class name: {field: value}}`` for a piece, lists for tuples, and plain values as they are."""
    if is_dataclass(piece) and not isinstance(piece, type):
        values = {field.name: spell(getattr(piece, field.name)) for field in fields(piece) if field.init}
        return {_name(type(piece)): values}
    if isinstance(piece, Mapping):
        return {key: spell(value) for key, value in piece.items()}
    if isinstance(piece, tuple | list):
        return [spell(entry) for entry in piece]
    return piece


def _name(kind: type) -> str:
    """Return the class name in lower case for a piece of fewstep, the dotted path for anybody else's."""
    own = kind.__module__.split(".")[0] == "fewstep"
    return kind.__name__.lower() if own else f"{kind.__module__}.{kind.__qualname__}"
