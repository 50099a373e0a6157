"""Every error that fewstep raises on purpose.

    FewstepError
    |-- RecipeError         a recipe, an option or a combination of pieces that cannot work
    |-- DataError           data that are missing, broken or of another kind than asked for
    |-- WeightsError        a checkpoint that does not fit, cannot be read or cannot be written
    |-- MissingExtra        an optional dependency that is not installed
    `-- UnhealthyTraining   a run that a monitor stopped

A message says what was given, what is accepted and what to do.
"""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "DataError",
    "FewstepError",
    "MissingExtra",
    "RecipeError",
    "UnhealthyTraining",
    "WeightsError",
    "nearest",
]


class FewstepError(Exception):
    """The root of the tree: catch this to catch everything that fewstep raises on purpose."""


class RecipeError(FewstepError):
    """A recipe, an option or a combination of pieces that cannot work."""


class DataError(FewstepError):
    """Data that are missing, broken or of another kind than asked for."""


class WeightsError(FewstepError):
    """A checkpoint that does not fit, cannot be read or cannot be written."""


class MissingExtra(FewstepError):
    """An optional dependency is not installed; the message carries the command that installs it."""


class UnhealthyTraining(FewstepError):
    """A monitor stopped the run; the message is the diagnosis in plain words."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """Say which names exist, the nearest first: ``did you mean 'karras'? Known: ...``."""
    known = sorted(choices)
    close = get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(c) for c in close)}? " if close else ""
    return f"{hint}Known: {', '.join(known)}."
