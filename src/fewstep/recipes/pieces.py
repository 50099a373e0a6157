"""Everything inside a piece of a recipe."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

__all__ = ["pieces"]


def pieces(whole: Any) -> Iterator[Any]:
    """Yield a piece and everything inside, depth first."""
    yield whole
    inside: list[Any] = []
    if isinstance(whole, Mapping):
        inside = list(whole.values())
    elif isinstance(whole, tuple | list):
        inside = list(whole)
    elif is_dataclass(whole) and not isinstance(whole, type):
        inside = [getattr(whole, field.name) for field in fields(whole)]
    for part in inside:
        yield from pieces(part)
