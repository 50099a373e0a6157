"""YAML in, plain values out, with the line of every key kept for error messages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError

from fewstep.errors import RecipeError, nearest

__all__ = ["Document", "paper_names", "read"]

PAPERS = files("fewstep.recipes") / "papers"


@dataclass(frozen=True)
class Document:
    """A recipe as written: its name, its values, and where each path stands (``file:line``)."""

    name: str
    values: Mapping[str, Any]
    lines: Mapping[str, str] = field(default_factory=dict)

    def where(self, path: str) -> str:
        """Return ``path (file:line)`` for the nearest path that is written down."""
        path = path.lstrip(".")
        shorter = path
        while shorter and shorter not in self.lines:
            shorter = shorter.rpartition(".")[0]
        return f"{path} ({self.lines[shorter]})" if shorter else path

    def with_settings(self, settings: Sequence[str]) -> "Document":
        """Return the document with ``path=value`` settings applied; values are YAML.

        Raises ``RecipeError`` for a setting without "=" and for a path that leads through a plain value.
        """
        values: dict[str, Any] = _plain(self.values)
        lines = dict(self.lines)
        for setting in settings:
            if setting.startswith("begins."):
                continue  # for the recipe that is run first
            path, equals, text = setting.partition("=")
            if not equals:
                raise RecipeError(f"--set {setting} has no '='; accepted is path=value, for example steps=500.")
            _put(values, path.strip(), _value(text, setting), setting)
            lines[path.strip()] = "--set"
        return Document(self.name, values, lines)


def paper_names() -> list[str]:
    """Return the names of the recipes that come with the package."""
    return sorted(entry.name.removesuffix(".yaml") for entry in PAPERS.iterdir() if entry.name.endswith(".yaml"))


def read(name: str) -> Document:
    """Read a recipe by its name, or from a path that ends in .yaml.

    Raises ``RecipeError`` for an unknown name, a missing file, and text that is no YAML mapping (with the line).
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise RecipeError(f"There is no recipe file {name}; give a file that exists, or one of: {paper_names()}.")
        return _parse(path.stem, _text(path), path.name)
    if name not in paper_names():
        raise RecipeError(f"There is no recipe {name!r}; {nearest(name, paper_names())} A path must end in .yaml.")
    return _published(name)


@cache
def _published(name: str) -> Document:
    """Return a recipe that comes with the package, whose text does not change."""
    return _parse(name, (PAPERS / f"{name}.yaml").read_text(encoding="utf-8"), f"{name}.yaml")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is no text in UTF-8 ({error}); save it in that encoding.") from error


def _value(text: str, setting: str) -> Any:
    try:
        return YAML(typ="safe").load(text)
    except MarkedYAMLError as error:
        raise RecipeError(
            f"--set {setting}: {text!r} is not YAML ({error.problem}); accepted is path=value, quoted for the shell "
            "where it holds brackets, for example 'widths=[32, 64]'."
        ) from error


def _parse(name: str, text: str, file: str) -> Document:
    try:
        values = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise RecipeError(f"{file}, line {line}, is not YAML: {error.problem}. Mend that line.") from error
    if not isinstance(values, CommentedMap):
        raise RecipeError(f"{file} holds no mapping of keys to values; see `fewstep recipes` for examples.")
    lines: dict[str, str] = {}
    _collect(values, "", file, lines)
    return Document(name, _plain(values), lines)


def _collect(node: object, path: str, file: str, lines: dict[str, str]) -> None:
    """Write down the line of every key and list entry below ``node``."""
    if isinstance(node, CommentedMap):
        for key in node:
            below = f"{path}.{key}" if path else str(key)
            lines[below] = f"{file}:{node.lc.key(key)[0] + 1}"
            _collect(node[key], below, file, lines)
    elif isinstance(node, CommentedSeq):
        for i, entry in enumerate(node):
            lines[f"{path}.{i}"] = f"{file}:{node.lc.item(i)[0] + 1}"
            _collect(entry, f"{path}.{i}", file, lines)


def _plain(node: Any) -> Any:
    """Turn ruamel's containers and numbers into Python's."""
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(entry) for entry in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def _put(values: dict[str, Any], path: str, value: Any, setting: str) -> None:
    """Set the value at a dotted path, making mappings on the way; list entries are named by their index."""
    *parents, last = path.split(".")
    node: Any = values
    for part in parents:
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, dict):
            node = node.setdefault(part, {})
        else:
            raise RecipeError(f"--set {setting}: nothing can be set below {part!r}; the path leads through a value.")
    if isinstance(node, list) and last.isdigit() and int(last) < len(node):
        node[int(last)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise RecipeError(f"--set {setting}: {last!r} cannot be set here; the path leads through a value.")
