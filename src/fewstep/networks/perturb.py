"""Noise on what a network is told of a condition, while it learns."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from fewstep.errors import RecipeError, nearest

__all__ = ["Perturb"]

LAWS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "uniform": lambda e: 2 * torch.rand_like(e) - 1,
    "gaussian": torch.randn_like,
}


class Perturb(nn.Module):
    """``e + delta`` in training, for embeddings e (b, ..., d) of conditions: ``delta ~ U(-g/sqrt(d), g/sqrt(d))``.

    ``amount`` is g for this law, or names one: ``{gaussian: g}`` is ``delta ~ N(0, g^2 / d)`` per entry.  The mean of
    |delta|^2 is g^2 / 3 for the uniform and g^2 for the Gaussian law, for each vector, however long e is; encoders
    differ in scale, so compare it with |e|.  In eval mode, and for g = 0, e itself.  The draws are torch's global ones,
    as those of dropout: two calls under the same masks see the same delta, an average of the network too.
    Exact when x is linear in a condition of unit variance: its coefficient a becomes a / (1 + v), v the variance of an
    entry of delta.
    Source: condition embedding perturbation in Slight Corruption in Pre-training Data, arXiv 2405.20494.
    Raises ``RecipeError`` for a law that there is not, and for g below 0.
    """

    def __init__(self, amount: float | Mapping[str, float] = 0.0) -> None:
        super().__init__()
        named = amount if isinstance(amount, Mapping) else {"uniform": amount}
        (self.law, self.g), *more = named.items() or [("", 0.0)]
        if more or self.law not in LAWS:
            raise RecipeError(
                f"perturb is {dict(named)}; accepted is a number for uniform noise, or one law with its number, "
                f"{{gaussian: 1.0}}; {nearest(self.law, LAWS)}"
            )
        if not 0 <= self.g < math.inf:
            raise RecipeError(f"perturb is {self.g}; accepted are numbers from 0 on, 1 to begin with.")

    def forward(self, e: Tensor, given: Tensor) -> Tensor:
        """Return e, perturbed where ``given`` (b, ...) is true: not where there is no condition or only padding."""
        if not self.training or self.g == 0:
            return e
        delta = LAWS[self.law](e) * (self.g / math.sqrt(e.shape[-1]))
        return torch.where(given[..., None], e + delta, e)
