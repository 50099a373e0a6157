"""A second time for a network that was trained without one."""

import torch
from torch import Tensor, nn

from fewstep.networks.embed import TimeEmbedding

__all__ = ["SecondTime"]


class SecondTime(nn.Module):
    """``net(x, label, c, label_s)`` around any ``body(x, label, c)``: label_s scales and shifts the input channels.

    Starts silent: before the first update the answer is the body's to the last bit, whatever label_s is.
    """

    def __init__(self, body: nn.Module, channels: int, width: int = 64) -> None:
        super().__init__()
        self.body, self.until = body, TimeEmbedding(width)
        self.modulate = nn.Linear(width, 2 * channels)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(self, x: Tensor, label: Tensor, c: Tensor | None, label_s: Tensor) -> Tensor:
        """Return the body's output for the modulated input, the shape of x."""
        scale, shift = self.modulate(self.until(label_s)).chunk(2, 1)
        axes = (-1, x.shape[1], *(1 for _ in x.shape[2:]))
        fed = torch.addcmul(shift.reshape(axes), x, 1 + scale.reshape(axes))
        return self.body(fed, label, c)  # type: ignore[no-any-return]
