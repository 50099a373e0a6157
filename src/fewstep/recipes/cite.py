"""Who deserves the credit: the BibTeX of everything that a recipe uses."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from fewstep.recipes.schema import Recipe

__all__ = ["bibliography", "cite"]


@lru_cache(maxsize=1)
def bibliography() -> dict[str, str]:
    """Return the BibTeX entries that come with the package by their arXiv numbers."""
    text = (files("fewstep.recipes") / "sources.bib").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=@)", text.strip())
    return {match[1]: entry.strip() for entry in entries if (match := re.search(r"eprint\s*=\s*\{([\d.]+)\}", entry))}


def cite(recipe: Recipe) -> str:
    """Return the BibTeX of the recipe's paper first, then of every piece it uses."""
    found = dict.fromkeys(number for source in (recipe.source, *_sources(recipe)) for number in _numbers(source))
    known = bibliography()
    return "\n\n".join(known.get(number, f"% arXiv {number}: no entry in this version of fewstep") for number in found)


def _numbers(source: str) -> list[str]:
    return re.findall(r"\d{4}\.\d{4,5}", source)


def _sources(piece: Any) -> Iterator[str]:
    """Yield the SOURCE of every piece inside, depth first."""
    if isinstance(piece, Mapping):
        for value in piece.values():
            yield from _sources(value)
    elif isinstance(piece, tuple | list):
        for value in piece:
            yield from _sources(value)
    elif is_dataclass(piece) and not isinstance(piece, type):
        source = vars(type(piece)).get("SOURCE")
        yield from [source] if isinstance(source, str) else _numbers_in(type(piece).__doc__)
        for field in fields(piece):
            yield from _sources(getattr(piece, field.name))


def _numbers_in(words: str | None) -> list[str]:
    """Return the sources that a docstring names after ``Source:``."""
    return re.findall(r"Source:.*?(arXiv \d{4}\.\d{4,5})", words or "", re.DOTALL)[:1]
