"""What every image goes through before it is measured or shown: finite, clamped to [-1, 1], rounded to 8 bits.

The choices before the feature network move a Frechet distance more than a better student does.

*Source* On Aliased Resizing and Surprising Subtleties in GAN Evaluation, arXiv 2104.11222.
"""

import torch
from torch import Tensor

from fewstep.errors import DataError, UnhealthyTraining
from fewstep.types import X

__all__ = ["clamped", "eight_bit"]


def clamped(images: X) -> X:
    """Images cut to [-1, 1], as a picture file would cut them.

    Raises ``UnhealthyTraining`` when a value is not finite: such a batch has no quality to measure.
    """
    broken = int((~images.isfinite()).flatten(1).any(1).sum())
    if broken:
        raise UnhealthyTraining(
            f"{broken} of {len(images)} images hold values that are not finite, so they can be neither measured nor "
            "shown. The network that drew them has diverged: lower its learning rate or go back to a checkpoint."
        )
    return images.clamp(-1, 1)


def eight_bit(images: Tensor) -> Tensor:
    """Images (n, channels, height, width) in [-1, 1] as bytes (n, height, width, 1 or 3).

    Other than 1 or 3 channels are shown side by side in grey, as the frames of a clip: (n, height, channels width, 1).
    Rounded, not truncated: truncation darkens every image by half a grey level.
    """
    if images.ndim != 4 or images.shape[1] == 0:
        raise DataError(
            f"Pictures need images of shape (n, channels, height, width), not {tuple(images.shape)}. "
            "Give signals a picture of their own, such as a spectrogram."
        )
    if images.shape[1] not in (1, 3):
        images = torch.cat(images.unbind(1), -1)[:, None]
    levels = (clamped(images.detach().float()) + 1) * 127.5
    return levels.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().contiguous()
