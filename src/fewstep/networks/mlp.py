"""A network for points."""

import torch
from torch import Tensor, nn

from fewstep.networks.embed import ConditionEmbedding, TimeEmbedding

__all__ = ["MLP"]


class MLP(nn.Module):
    """``net(x, label, c, label_s=None)`` with x (b, features): residual layers with the embedding added to each."""

    def __init__(
        self, features: int = 2, classes: int = 0, width: int = 128, depth: int = 3, second_time: bool = False
    ) -> None:
        super().__init__()
        self.time, self.condition = TimeEmbedding(width), ConditionEmbedding(width, classes)
        self.until = TimeEmbedding(width, silent=True) if second_time else None
        self.first, self.last = nn.Linear(features, width), nn.Linear(width, features)
        self.middle = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(depth)
        )

    def forward(self, x: Tensor, label: Tensor, c: Tensor | None = None, label_s: Tensor | None = None) -> Tensor:
        """Return F(x), (b, features)."""
        embedding = self.time(label)
        if self.until is not None and label_s is not None:
            embedding = embedding + self.until(label_s)
        embedding = embedding + self.condition(c, embedding)
        h = self.first(x)
        for layer in self.middle:
            h = h + layer(h + embedding)
        return self.last(torch.nn.functional.silu(h))  # type: ignore[no-any-return]
