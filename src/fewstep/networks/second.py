"""A second time for a network that was trained without one."""

import torch
from torch import Tensor, nn

from fewstep.networks.embed import TimeEmbedding

__all__ = ["SecondTime"]


class SecondTime(nn.Module):
    """``net(x, label, c, label_s=None, scale=None)`` around any ``body(x, label, c)``, which is told a scale if given.

    label_s scales and shifts the input channels.  Starts silent: before the first update the answer is the body's to
    the last bit, whatever label_s is; and always where it is not given, as when a critic listens to the body.
    """

    def __init__(self, body: nn.Module, channels: int, width: int = 64) -> None:
        super().__init__()
        self.body, self.until = body, TimeEmbedding(width)
        self.modulate = nn.Linear(width, 2 * channels)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(
        self,
        x: Tensor,
        label: Tensor,
        c: Tensor | None = None,
        label_s: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Tensor:
        """Return the body's output for the modulated input, the shape of x."""
        told = {} if scale is None else {"scale": scale}
        return self.body(x if label_s is None else self._fed(x, label_s), label, c, **told)  # type: ignore[no-any-return]

    def _fed(self, x: Tensor, label_s: Tensor) -> Tensor:
        factor, shift = self.modulate(self.until(label_s)).chunk(2, 1)
        axes = (-1, x.shape[1], *(1 for _ in x.shape[2:]))
        return torch.addcmul(shift.reshape(axes), x, 1 + factor.reshape(axes))
