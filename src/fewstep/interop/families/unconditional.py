"""Pixels from nothing: an unconditional U-Net without an autoencoder."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from fewstep.errors import DataError
from fewstep.interop.families.base import UNET, Family
from fewstep.interop.readers import Reader

__all__ = ["Unconditional"]


class Unconditional(Family):
    """DDPM and DDIM on pixels.  Source: arXiv 2006.11239."""

    PIPELINES = ("DDPMPipeline", "DDIMPipeline")
    BACKBONE = "unet"
    LINES = UNET
    MODEL = "UNet2DModel"
    GUIDANCE = 1.0

    def told(self, pipe: Any, prompts: Sequence[str], size: tuple[int, int]) -> dict[str, Tensor]:
        """Refuse: it takes no condition."""
        raise DataError("This pipeline is unconditional and takes no prompt. Leave the prompt out.")

    def empty(self, pipe: Any, size: tuple[int, int]) -> dict[str, Tensor]:
        """Return nothing."""
        return {}

    def ask(self, net: Any, x: Tensor, time: Tensor, told: Mapping[str, Tensor], scale: Tensor | None) -> Tensor:
        """Ask the U-Net."""
        output: Tensor = net(x, time, return_dict=False)[0]
        return output

    def unit(self, config: Mapping[str, Any]) -> int:
        """Return what its levels halve: this U-Net enlarges by two and no more, whatever it had before."""
        return int(2 ** (len(config["block_out_channels"]) - 1))

    def readers(self, pipe: Any) -> tuple[Reader, ...]:
        """Return nobody."""
        return ()
