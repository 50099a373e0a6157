"""The model card of an export: front matter, pictures, the measured table, and how to load it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

__all__ = ["card"]

if TYPE_CHECKING:
    from fewstep.export.proof import Proof
    from fewstep.export.write import Wanted


def card(draft: Path, name: str, few: Mapping[str, Any], proof: "Proof", wanted: "Wanted") -> None:
    """Write README.md and its pictures."""
