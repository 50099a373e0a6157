"""Which noise belongs to which item.

Drawn independently the two make the usual diffusion path; stored pairs of a teacher make a straighter one.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from fewstep.batch import Batch
from fewstep.draws import Draws
from fewstep.errors import RecipeError
from fewstep.scalars import Piecewise, Progress, Scalar, scalar
from fewstep.types import X

__all__ = ["Annealed", "Coupling", "Independent", "Stored"]


class Coupling(ABC):
    """A joint law of data and standard normal noise; the noise alone stays standard normal."""

    @abstractmethod
    def __call__(self, batch: Batch, x0: X, draws: Draws, progress: Progress) -> X:
        """Return noise z of the shape of the clean items ``x0``."""


@dataclass(frozen=True)
class Independent(Coupling):
    """Fresh noise for every item."""

    def __call__(self, batch: Batch, x0: X, draws: Draws, progress: Progress) -> X:
        """Return standard normal numbers."""
        return draws.normal(x0)


@dataclass(frozen=True)
class Stored(Coupling):
    """The noise from which a teacher made the item: reflow.  Source: arXiv 2209.03003, eq. 1 on (Z0, Z1).

    Raises ``RecipeError`` for data that are no stored pairs.
    """

    def __call__(self, batch: Batch, x0: X, draws: Draws, progress: Progress) -> X:
        """Return the batch's own noise."""
        if batch.z is None:
            raise RecipeError(
                "the coupling 'stored' needs stored pairs (noise, teacher's sample), but this batch holds data only; "
                "give the recipe 'pairs', or use the coupling 'independent'."
            )
        return batch.z


@dataclass(frozen=True)
class Annealed(Coupling):
    """``sqrt(1 - b^2) z + b z'`` with stored z and fresh z': from flow matching (b = 1) to reflow (b = 0).

    Source: SlimFlow, arXiv 2407.12718, section 4.1.
    """

    b: Scalar = field(default_factory=lambda: Piecewise(((0.0, 1.0), (0.5, 0.0))))

    def __call__(self, batch: Batch, x0: X, draws: Draws, progress: Progress) -> X:
        """Mix the stored noise with fresh one; the variance stays 1."""
        b = scalar(self.b, progress)
        return math.sqrt(1 - b * b) * Stored()(batch, x0, draws, progress) + b * draws.normal(x0)
