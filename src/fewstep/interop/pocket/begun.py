"""The backbone of a pipeline that is trained further."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fewstep.interop.bridge import Bridge, around
from fewstep.interop.open import open_pipe
from fewstep.interop.pocket.optimise import fast

__all__ = ["Begun"]


class Begun(nn.Module):
    """``net(x, label, c)``: the backbone of the pipeline in ``folder``, with the weights that are there.

    A recipe names it so when a pipeline is to be trained, not distilled.  In training it computes as fast as it can,
    and text states are perturbed as ``Bridge`` has it.
    """

    def __init__(self, folder: str, perturb: float | Mapping[str, float] = 0.0) -> None:
        super().__init__()
        pipe = open_pipe(folder)
        bridge: Any = around(pipe.family, pipe.backbone, pipe.nothing(), perturb=perturb).requires_grad_(True)
        self.bridge: Bridge = bridge.to(memory_format=torch.channels_last)  # as a CPU convolves fastest

    def forward(self, x: Tensor, label: Tensor, c: Tensor | None = None) -> Tensor:
        """Return the backbone's output, the shape of x."""
        if not self.training:
            return self._told(x, label, c)
        with fast(x.device):
            return self._told(x, label, c)

    def _told(self, x: Tensor, label: Tensor, c: Tensor | None) -> Tensor:
        output: Tensor = self.bridge(x, label, c)
        return output
