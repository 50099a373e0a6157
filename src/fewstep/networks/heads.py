"""A critic that borrows a network's features."""

import torch
from torch import Tensor, nn

from fewstep.tapped import listening

__all__ = ["Headed"]


class Headed(nn.Module):
    """A network that also judges: ``net(x, label, c)`` as before, ``net(x, label, c, judge=True)`` a logit (b,).

    The logit is read off the output of the submodule named ``tap`` by a small head.  The head is built for the
    features of ``like`` = (x, label, c), one example batch.  Raises ``RecipeError`` when no submodule has that name.
    Source: DMD2, arXiv 2405.14867, section 4.3 (a head on the bottleneck of the fake score).
    """

    def __init__(self, body: nn.Module, tap: str, like: tuple[Tensor, Tensor, Tensor | None], width: int = 64) -> None:
        super().__init__()
        self.body, self.tap = body, tap
        with torch.no_grad():
            features = self._features(*like)
        self.head = nn.Sequential(
            nn.Linear(features.shape[1], width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1)
        )

    def forward(
        self, x: Tensor, label: Tensor, c: Tensor | None = None, *rest: Tensor | None, judge: bool = False
    ) -> Tensor:
        """Return the body's output, or with ``judge`` one logit per item."""
        if not judge:
            return self.body(x, label, c, *rest)  # type: ignore[no-any-return]
        return self.head(self._features(x, label, c))[:, 0]  # type: ignore[no-any-return]

    def _features(self, x: Tensor, label: Tensor, c: Tensor | None) -> Tensor:
        """Return mean and deviation over the places of each channel at the tap, (b, 2 channels)."""
        with listening(self.body, [self.tap]) as heard:
            self.body(x, label, c)
        places = heard[0].flatten(2) if heard[0].ndim > 2 else heard[0][..., None]
        return torch.cat([places.mean(2), places.var(2, correction=0).add(1e-6).sqrt()], 1)
