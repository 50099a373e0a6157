"""What a network knows besides x: times and conditions as vectors."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from fewstep.errors import RecipeError
from fewstep.networks.perturb import Perturb

__all__ = ["ConditionEmbedding", "Context", "TimeEmbedding", "features_of"]


class TimeEmbedding(nn.Module):
    """Sines and cosines of the label, then two layers.

    ``highest`` is the fastest frequency in radians per unit of the label.  Low is calm: consistency models need an
    embedding that does not change abruptly with time (iCT, arXiv 2310.14189, section 3.3).
    A ``silent`` one starts at zero, so that it can be added to a trained network.
    """

    frequencies: Tensor

    def __init__(self, width: int, highest: float = 16.0, silent: bool = False) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.logspace(0, math.log10(highest), width // 2), persistent=False)
        self.layers = nn.Sequential(nn.Linear(width // 2 * 2, width), nn.SiLU(), nn.Linear(width, width))
        if silent:
            for parameter in self.layers[2].parameters():
                nn.init.zeros_(parameter)

    def forward(self, label: Tensor) -> Tensor:
        """Map labels (b,) to vectors (b, width)."""
        angle = label[:, None] * self.frequencies
        return self.layers(torch.cat([angle.cos(), angle.sin()], 1))  # type: ignore[no-any-return]


class ConditionEmbedding(nn.Module):
    """Class labels (b,), with -1 for no class, or vectors (b, features), to vectors (b, width).

    ``classes`` > 0 makes a table with one row more, for "no class"; ``features`` > 0 a linear layer, in which the
    vector 0 is "no condition".  With neither, and for the condition None, the answer is that of "no condition".
    ``perturb`` is how far conditions are perturbed in training, as ``Perturb`` takes it; "no condition" never is.
    """

    def __init__(
        self, width: int, classes: int = 0, features: int = 0, perturb: float | Mapping[str, float] = 0.0
    ) -> None:
        super().__init__()
        self.classes, self.perturb = classes, Perturb(perturb)
        self.table = nn.Embedding(classes + 1, width) if classes else None
        self.linear = nn.Linear(features, width, bias=False) if features else None

    def forward(self, c: Tensor | None, like: Tensor) -> Tensor:
        """Return one vector per item; ``like`` (b, width) gives batch, device and precision."""
        if self.table is not None:
            rows = torch.full((len(like),), -1, device=like.device) if c is None else c
            return self.perturb(self.table(torch.where(rows < 0, self.classes, rows)), rows >= 0)  # type: ignore[no-any-return]
        if self.linear is not None and c is not None:
            return self.perturb(self.linear(c), (c != 0).any(1))  # type: ignore[no-any-return]
        return torch.zeros_like(like)


class Context(nn.Module):
    """Everything a network knows besides x, as one vector: time, condition, and what it may be told beyond.

    ``second_time``: the label of the end of a jump; ``scale``: a guidance scale.  Both start silent, so that the
    weights of a network without them keep their meaning; where they are not given, they say nothing.  ``perturb`` is
    that of the condition's embedding.
    """

    def __init__(
        self,
        width: int,
        classes: int = 0,
        features: int = 0,
        second_time: bool = False,
        scale: bool = False,
        perturb: float | Mapping[str, float] = 0.0,
    ) -> None:
        super().__init__()
        self.time, self.condition = TimeEmbedding(width), ConditionEmbedding(width, classes, features, perturb)
        self.until = TimeEmbedding(width, silent=True) if second_time else None
        self.scale = TimeEmbedding(width, silent=True) if scale else None

    def forward(self, label: Tensor, c: Tensor | None, label_s: Tensor | None, scale: Tensor | None) -> Tensor:
        """Return the sum of the embeddings, (b, width), through SiLU.  Raises ``RecipeError`` for an unknown scale."""
        embedding = self.time(label)
        if self.until is not None and label_s is not None:
            embedding = embedding + self.until(label_s)
        if scale is not None:
            if self.scale is None:
                raise RecipeError("a guidance scale was given to a network that takes none; build it with scale: true.")
            embedding = embedding + self.scale(scale.to(embedding.dtype))
        return silu(embedding + self.condition(c, embedding))


def features_of(condition: Sequence[int], network: str) -> int:
    """Return the features of conditions of this shape, 0 for labels and none; raise ``RecipeError`` for others."""
    if len(condition) > 1:
        raise RecipeError(
            f"the condition of {network} has the shape {list(condition)}; accepted are [] for labels or none, and "
            "[features] for vectors."
        )
    return condition[0] if condition else 0
