"""What the two players of a game minimise, as functions of logits."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from fewstep.errors import RecipeError
from fewstep.terms.divergences import Divergence, JensenShannon
from fewstep.types import Logits

__all__ = ["Clamped", "Classes", "GanLoss", "Hinge", "LeastSquares", "Logistic", "Softplus"]

Costs: TypeAlias = Float[Tensor, "batch *each"]
"""The cost of each place, (batch, places)."""


class GanLoss(ABC):
    """What the two players minimise, at each place of each head."""

    ratios: ClassVar[bool] = False
    """Whether the verdict of the best critic is the logarithm of a density ratio."""

    guess: ClassVar[float | None] = None
    """What the critic pays at least when data and samples have one law; None where that depends on the law."""

    asks_ratio: ClassVar[bool] = False
    """Whether the generator's cost is what it says of such logits alone."""

    classes: ClassVar[bool] = False
    """Whether it is one for the heads that know classes, or for all others."""

    @abstractmethod
    def generator(self, fake: Logits) -> Costs:
        """Return the generator's cost."""

    @abstractmethod
    def critic(self, real: Logits, fake: Logits) -> Costs:
        """Return the critic's cost."""

    def verdict(self, said: Logits) -> Costs:
        """Return how much more real than generated an item is held to be, 0 where a critic must guess."""
        return said

    def meant(self, heads: Sequence[Logits]) -> list[Logits]:
        """Return what those heads say that the loss is for; raise ``RecipeError`` when there is none."""
        found = [each for each in heads if (each.ndim == 3) == self.classes]
        if not found:
            wanted = "kinds: [classes]" if self.classes else "kinds: [global]"
            raise RecipeError(
                f"the loss {type(self).__name__} is for heads that the critic lacks; accepted is a critic with heads "
                f"of its kind. Give its 'heads' {wanted}, or several kinds."
            )
        return found


@dataclass(frozen=True)
class Softplus(GanLoss):
    """Non-saturating: ``log(1 + e^-l)``; with the optimal logit the softened reverse KL.  Source: arXiv 1406.2661."""

    ratios = True
    guess = 2 * math.log(2)

    def generator(self, fake: Logits) -> Costs:
        """Return ``softplus(-fake)``."""
        return softplus(-fake)

    def critic(self, real: Logits, fake: Logits) -> Costs:
        """Return ``softplus(fake) + softplus(-real)``."""
        return softplus(fake) + softplus(-real)


@dataclass(frozen=True)
class Logistic(Softplus):
    """The critic of ``Softplus``, and the generator's cost under which a divergence falls: ``f - r f'`` at ``r = e^l``.

    With the optimal logit its gradient is that of the divergence: the ``SoftenedReverseKL`` is the non-saturating cost
    and ``Softplus`` itself, ``JensenShannon`` the saturating one, ``-softplus(l)``.
    Source: arXiv 1406.2661, eq. 1 (Jensen-Shannon); others: f-distill, arXiv 2502.15681, through the logit.
    """

    divergence: Divergence = field(default_factory=JensenShannon)

    asks_ratio = True

    def generator(self, fake: Logits) -> Costs:
        """Return the divergence's cost of the logit."""
        return self.divergence.cost(fake)


@dataclass(frozen=True)
class Hinge(GanLoss):
    """``-l`` against ``max(0, 1 + fake) + max(0, 1 - real)``.  Source: arXiv 1705.02894."""

    guess = 2.0

    def generator(self, fake: Logits) -> Costs:
        """Return ``-fake``."""
        return -fake

    def critic(self, real: Logits, fake: Logits) -> Costs:
        """Return the two hinges."""
        return (1 + fake).clamp_min(0) + (1 - real).clamp_min(0)


@dataclass(frozen=True)
class LeastSquares(GanLoss):
    """``(1 - fake)^2`` against ``(1 - real)^2 + fake^2``.  Source: LSGAN, arXiv 1611.04076, eq. 9."""

    guess = 0.5

    def verdict(self, said: Logits) -> Costs:
        """Return how far they are above the middle of 0 and 1, where data and samples cost the same."""
        return said - 0.5

    def generator(self, fake: Logits) -> Costs:
        """Return the squared distance to 1."""
        return (1 - fake).square()

    def critic(self, real: Logits, fake: Logits) -> Costs:
        """Return the squared distances to 1 and to 0."""
        return (1 - real).square() + fake.square()


@dataclass(frozen=True)
class Clamped(Softplus):
    """``Softplus`` of logits held at ``limit``: who is right by so much already has no gradient.

    Raises ``RecipeError`` unless the limit is above 0.
    Source: UFOGen, arXiv 2311.09257, in the author's re-implementation (0.5).
    """

    limit: float = 0.5

    def __post_init__(self) -> None:
        if not self.limit > 0:
            raise RecipeError(f"logits are to be held at the limit {self.limit}; accepted is a limit above 0.")

    def generator(self, fake: Logits) -> Costs:
        """Return ``softplus(-min(fake, limit))``."""
        return super().generator(fake.clamp_max(self.limit))

    def critic(self, real: Logits, fake: Logits) -> Costs:
        """Return ``softplus(max(fake, -limit)) + softplus(-min(real, limit))``."""
        return super().critic(real.clamp_max(self.limit), fake.clamp_min(-self.limit))


@dataclass(frozen=True)
class Classes(GanLoss):
    """``log C(generated, c) - log C(data, c)`` against cross-entropy over 2K classes: data or generated, of a class.

    With the best classifier the generator's cost is ``log q(x, c) / p(x, c)``: the reverse KL of the joint law, which
    needs no other critic beside it.  Source: ADC-GAN, arXiv 2107.10060.
    """

    ratios = True
    classes = True

    def verdict(self, said: Logits) -> Costs:
        """Return ``log C(data, c) - log C(generated, c)``; with the best classifier ``log p(x, c) / q(x, c)``."""
        return said[..., 0] - said[..., 1]

    def generator(self, fake: Logits) -> Costs:
        """Return how much more "generated" of its class an item is than "data" of its class."""
        return fake[..., 1] - fake[..., 0]

    def critic(self, real: Logits, fake: Logits) -> Costs:
        """Return the two cross-entropies."""
        return -real[..., 0] - fake[..., 1]
