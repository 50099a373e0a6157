"""Which network answers on the cleaner side of a consistency cost."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from fewstep.process import over
from fewstep.turn import Turn
from fewstep.types import T, X

__all__ = ["Averaged", "Current", "Split", "Target"]


class Target(ABC):
    """Carries x_r on to s, without a graph."""

    @abstractmethod
    def __call__(self, turn: Turn, x: X, r: T, s: T) -> X:
        """Return the state at s."""

    def networks(self) -> tuple[str, ...]:
        """Return the names of the networks that are asked for besides the learner's own."""
        return ()


@dataclass(frozen=True)
class Current(Target):
    """The learner's weights of this moment.  Source: iCT, arXiv 2310.14189, section 3.2."""

    def __call__(self, turn: Turn, x: X, r: T, s: T) -> X:
        """Return the learner's own answer."""
        return turn.flow_map()(x, r, s, turn.c)


@dataclass(frozen=True)
class Averaged(Target):
    """An average of the learner, by its name.  Source: arXiv 2303.01469, eq. 7 (an EMA of rate mu)."""

    name: str

    def __call__(self, turn: Turn, x: X, r: T, s: T) -> X:
        """Return the average's answer."""
        return turn.flow_map(f"{turn.me}.{self.name}")(x, r, s, turn.c)


@dataclass(frozen=True)
class Split(Target):
    """A frozen network below the time ``below``, the learner from there on: truncated consistency.

    Source: TCM, arXiv 2410.14895, eq. 7.
    """

    frozen: str
    below: float

    def networks(self) -> tuple[str, ...]:
        """Return the frozen network."""
        return (self.frozen,)

    def __call__(self, turn: Turn, x: X, r: T, s: T) -> X:
        """Return each side's answer where it is asked for."""
        own, other = turn.flow_map()(x, r, s, turn.c), turn.flow_map(self.frozen)(x, r, s, turn.c)
        return torch.where(over((r < self.below).double(), x) > 0, other, own)
