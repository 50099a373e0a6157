"""Which of the files at a place are meant: a variant of the weights, a revision on the hub."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewstep.errors import WeightsError, nearest

__all__ = ["Which"]

PLAIN = ""  # stands for weights without a variant
WEIGHTS = re.compile(r"(?:diffusion_pytorch_)?model(?:\.([^.]+?))?(?:-\d+-of-\d+)?\.safetensors")


@dataclass(frozen=True)
class Which:
    """The variant and the revision that a pipeline is opened in, None for neither: weights without a variant, the
    newest revision."""

    variant: str | None = None
    revision: str | None = None

    @classmethod
    def at(cls, place: str, variant: str | None = None, revision: str | None = None) -> "Which":
        """Return what is opened at a place for which these were asked.

        A folder whose weights are there in one variant only is opened in that one.  Raises ``WeightsError`` for a
        variant that a folder does not hold, for a folder with several variants and nothing besides when none was asked
        for, and for what only a folder, or only the hub, has.
        """
        path = Path(place)
        if revision is not None and path.exists():
            raise WeightsError(
                f"The revision {revision!r} was given for {place}, which lies here: only repositories on the hub have "
                "revisions. Leave it out, or give an id such as owner/name."
            )
        if variant is not None and path.is_file():
            raise WeightsError(
                f"The variant {variant!r} was given for {place}, one file that has no variants. Leave it out, or give "
                "the file with the weights that are meant."
            )
        return cls(_variant(path, variant) if path.is_dir() else variant, revision)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "Which":
        """Return what ``facts`` wrote."""
        return cls(facts.get("variant"), facts.get("revision"))

    @property
    def facts(self) -> dict[str, str]:
        """What is not as usual, by the names of diffusers' options."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def of_part(self, folder: Path) -> dict[str, str]:
        """Return the options for one component by itself, which may lack the variant that others have."""
        lacks = folder.is_dir() and self.variant not in _found(folder)
        return {name: value for name, value in self.facts.items() if name != "variant" or not lacks}


def _variant(folder: Path, asked: str | None) -> str | None:
    """Return the variant that a folder is opened in."""
    parts = {part.name: found for part in sorted(folder.iterdir()) if part.is_dir() and (found := _found(part))}
    every = sorted({variant for found in parts.values() for variant in found} - {PLAIN})
    if asked is not None:
        if parts and asked not in every:
            there = nearest(asked, every) if every else "it holds no variants. Leave it out."
            raise WeightsError(f"{folder} holds no weights in the variant {asked!r}; {there}")
        return asked
    lacking = [found for found in parts.values() if PLAIN not in found]
    shared = set.intersection(*lacking) if lacking else set()
    if len(shared) == 1:
        return shared.pop()
    if lacking:
        raise WeightsError(
            f"{folder} holds weights in the variants {', '.join(every)}, and not all of them without. Give the one "
            f"that is meant: --variant {every[0]}; in Python open_pipe(place, variant={every[0]!r})."
        )
    return None


def _found(folder: Path) -> set[str]:
    """Return the variants of the weights in a component's folder, ``PLAIN`` for those without."""
    matched = [WEIGHTS.fullmatch(file.name) for file in folder.iterdir()]
    return {each[1] or PLAIN for each in matched if each is not None}
