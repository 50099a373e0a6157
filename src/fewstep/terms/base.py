"""How costs add up."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from fewstep.errors import RecipeError, nearest
from fewstep.scalars import Balance, Progress, Scalar, scalar
from fewstep.turn import Turn
from fewstep.types import Cost

__all__ = ["Asks", "Objective", "Term", "asked"]


NOTHING: Mapping[str, Tensor] = {}


@runtime_checkable
class Asks(Protocol):
    """A part of a term that may ask for networks."""

    def networks(self) -> tuple[str, ...]:
        """Return their names."""


def asked(*parts: Asks) -> tuple[str, ...]:
    """Return the names of the networks that the parts of a term ask for, each once."""
    return tuple(dict.fromkeys(name for part in parts for name in part.networks()))


class Term(ABC):
    """A cost per item.  A term owns no parameters, no optimiser and no counter; networks are named, not held."""

    SOURCE: str
    """Where the formula comes from."""

    PITFALLS: ClassVar[str] = ""
    """What usually is the matter when a training with this cost goes wrong, in a sentence."""

    @abstractmethod
    def __call__(self, turn: Turn) -> Cost:
        """Return the cost of each item of the turn's batch, (b,)."""

    def networks(self) -> tuple[str, ...]:
        """Return the names of the networks this term asks for besides the one that learns."""
        return ()

    def __rmul__(self, weight: Scalar) -> "Objective":
        """Return this term, weighted."""
        return Objective(((weight, self),))

    def __add__(self, other: "Term | Objective") -> "Objective":
        """Return the sum."""
        return 1.0 * self + other


@dataclass(frozen=True)
class Objective:
    """A weighted sum of terms; a weight may change while training."""

    parts: tuple[tuple[Scalar, Term], ...]

    def __add__(self, other: "Term | Objective") -> "Objective":
        """Return the sum of both."""
        more = other if isinstance(other, Objective) else 1.0 * other
        return Objective(self.parts + more.parts)

    def items(self) -> Iterator[tuple[str, Term]]:
        """Yield (name, term); terms of one kind are numbered from the second on."""
        seen: dict[str, int] = {}
        for _, term in self.parts:
            kind = type(term).__name__
            seen[kind] = seen.get(kind, 0) + 1
            yield (kind if seen[kind] == 1 else f"{kind}{seen[kind]}"), term

    def active(self, progress: Progress) -> dict[str, Term]:
        """Return the terms whose weight is not 0 now, by name; the others need not be computed."""
        pairs = zip(self.parts, self.items(), strict=True)
        return {name: term for (weight, _), (name, term) in pairs if scalar(weight, progress) != 0}

    def total(
        self, costs: Mapping[str, Tensor], progress: Progress, parameters: Mapping[str, Tensor] = NOTHING
    ) -> Tensor:
        """Return the weighted sum of the mean costs; ``parameters`` by name are for weights that balance gradients."""
        weighted: list[Tensor] = []
        for (weight, _), (name, _) in zip(self.parts, self.items(), strict=True):
            if name in costs:
                ratio = _ratio(weight, weighted, costs[name], parameters) if isinstance(weight, Balance) else 1.0
                weighted.append(scalar(weight, progress) * ratio * costs[name])
        if not weighted:
            raise RecipeError(
                "an objective without terms, or whose terms all weigh 0 now; give it at least one that weighs "
                "something, or let the learner wait ('after')."
            )
        return sum(weighted[1:], weighted[0])


def _ratio(weight: Balance, before: list[Tensor], cost: Tensor, parameters: Mapping[str, Tensor]) -> Tensor | float:
    """Return how much longer the gradient of the first cost is than that of this one."""
    if not before:
        raise RecipeError("the first term of an objective cannot be balanced against itself; give it a number.")
    if weight.layer not in parameters:
        raise RecipeError(f"balance looks at the parameter {weight.layer!r}; {nearest(weight.layer, parameters)}")
    first, own = (
        torch.autograd.grad(value, parameters[weight.layer], retain_graph=True)[0].norm() for value in (before[0], cost)
    )
    ratio: Tensor = (first / own.clamp_min(1e-12)).clamp(weight.low, weight.high)
    return ratio.detach()
