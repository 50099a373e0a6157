"""Which divergence of the student from the teacher falls, as a function of the density ratio alone."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import softplus

__all__ = [
    "AlphaDivergence",
    "Divergence",
    "ForwardKL",
    "Jeffreys",
    "JensenShannon",
    "Neyman",
    "Pearson",
    "ReverseKL",
    "SoftenedReverseKL",
    "SquaredHellinger",
]


class Divergence(ABC):
    """``D_f = E_q f(r)`` with ``r = p / q``, teacher over student, f convex and f(1) = 0.

    Its gradient is that of the reverse KL times ``h(r) = r^2 f''(r)``, item by item: the larger h grows with r, the
    more the student covers.  A critic with the logit ``l = log r`` gives the same gradient through the cost
    ``f - r f'``, since ``d (f - r f') / dl = -h``.  Source: f-distill, arXiv 2502.15681.
    """

    constant: ClassVar[bool] = False
    """Whether h does not depend on r, so that nobody need know r."""

    @abstractmethod
    def weight(self, r: Tensor) -> Tensor:
        """Return ``h(r)``."""

    @abstractmethod
    def cost(self, logit: Tensor) -> Tensor:
        """Return ``f - r f'`` at ``r = e^logit``, up to a constant: what the student pays a critic."""


@dataclass(frozen=True)
class ReverseKL(Divergence):
    """KL(q || p), ``f = -log r``: seeks modes; no ratio is needed.  Source: f-distill, arXiv 2502.15681."""

    constant = True

    def weight(self, r: Tensor) -> Tensor:
        """Return 1."""
        return r.new_ones(r.shape)

    def cost(self, logit: Tensor) -> Tensor:
        """Return ``-l``."""
        return -logit


@dataclass(frozen=True)
class SoftenedReverseKL(Divergence):
    """``f = (r + 1) log(1/2 + 1/(2r))``: seeks modes.  Source: f-distill, arXiv 2502.15681."""

    def weight(self, r: Tensor) -> Tensor:
        """Return ``1 / (1 + r)``."""
        return 1 / (1 + r)

    def cost(self, logit: Tensor) -> Tensor:
        """Return ``softplus(-l)``, the non-saturating cost."""
        return softplus(-logit)


@dataclass(frozen=True)
class JensenShannon(Divergence):
    """``f = r log r - (r + 1) log((r + 1)/2)``, twice the usual one.  Source: f-distill, arXiv 2502.15681."""

    def weight(self, r: Tensor) -> Tensor:
        """Return ``r / (1 + r)``."""
        return r / (1 + r)

    def cost(self, logit: Tensor) -> Tensor:
        """Return ``-softplus(l)``, the saturating cost."""
        return -softplus(logit)


@dataclass(frozen=True)
class SquaredHellinger(Divergence):
    """``f = 1 - sqrt r``.  Source: f-distill, arXiv 2502.15681 (its code leaves out the 1/4 of h)."""

    def weight(self, r: Tensor) -> Tensor:
        """Return ``sqrt(r) / 4``."""
        return r.sqrt() / 4

    def cost(self, logit: Tensor) -> Tensor:
        """Return ``-e^(l/2) / 2``."""
        return -(logit / 2).exp() / 2


@dataclass(frozen=True)
class ForwardKL(Divergence):
    """KL(p || q), ``f = r log r``: covers, at a high variance.  Source: f-distill, arXiv 2502.15681."""

    def weight(self, r: Tensor) -> Tensor:
        """Return r."""
        return r

    def cost(self, logit: Tensor) -> Tensor:
        """Return ``-e^l``."""
        return -logit.exp()


@dataclass(frozen=True)
class Jeffreys(Divergence):
    """KL(q || p) + KL(p || q), ``f = (r - 1) log r``.  Source: f-distill, arXiv 2502.15681."""

    def weight(self, r: Tensor) -> Tensor:
        """Return ``1 + r``."""
        return 1 + r

    def cost(self, logit: Tensor) -> Tensor:
        """Return ``-l - e^l``."""
        return -logit - logit.exp()


@dataclass(frozen=True)
class Neyman(Divergence):
    """``f = (1 - r)^2 / r``: seeks modes more than the reverse KL.

    Source: f-distill, arXiv 2502.15681 (its code, which leaves out the 2 of h).
    """

    def weight(self, r: Tensor) -> Tensor:
        """Return ``2 / r``."""
        return 2 / r

    def cost(self, logit: Tensor) -> Tensor:
        """Return ``2 e^-l``."""
        return 2 * (-logit).exp()


@dataclass(frozen=True)
class Pearson(Divergence):
    """``f = (r - 1)^2``: covers most, at the highest variance.  Source: f-GAN, arXiv 1606.00709."""

    def weight(self, r: Tensor) -> Tensor:
        """Return ``2 r^2``."""
        return 2 * r.square()

    def cost(self, logit: Tensor) -> Tensor:
        """Return ``-e^(2l)``."""
        return -(2 * logit).exp()


@dataclass(frozen=True)
class AlphaDivergence(Divergence):
    """``f = (r^A - A r + A - 1) / (A (A - 1))`` with ``A = power``: 0 is the reverse KL, 1 the forward one.

    Source: arXiv 1606.00709, which lists Amari's family in another parameter; in this one ``h = r^A``.
    """

    power: float = 0.5

    def weight(self, r: Tensor) -> Tensor:
        """Return ``r^A``."""
        return r**self.power

    def cost(self, logit: Tensor) -> Tensor:
        """Return ``-e^(A l) / A``, or ``-l`` where A is 0."""
        return -logit if self.power == 0 else -(self.power * logit).exp() / self.power
