"""A network for points."""

from torch import Tensor, nn
from torch.nn.functional import silu

from fewstep.networks.embed import Context

__all__ = ["MLP"]


class MLP(nn.Module):
    """``net(x, label, c, label_s=None, scale=None)`` with x (b, features): residual layers, each told the context."""

    def __init__(
        self,
        features: int = 2,
        classes: int = 0,
        width: int = 128,
        depth: int = 3,
        second_time: bool = False,
        scale: bool = False,
    ) -> None:
        super().__init__()
        self.context = Context(width, classes, second_time=second_time, scale=scale)
        self.first, self.last = nn.Linear(features, width), nn.Linear(width, features)
        self.middle = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(depth)
        )

    def forward(
        self,
        x: Tensor,
        label: Tensor,
        c: Tensor | None = None,
        label_s: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Tensor:
        """Return F(x), (b, features)."""
        embedding = self.context(label, c, label_s, scale)
        h = self.first(x)
        for layer in self.middle:
            h = h + layer(h + embedding)
        return self.last(silu(h))  # type: ignore[no-any-return]
