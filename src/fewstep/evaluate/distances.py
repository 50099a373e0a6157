"""How far two sets of features lie apart: the Frechet distance and the kernel distance, computed by torchmetrics.

Both speak of whatever features they are given. Never compare numbers from two feature networks or two sample counts.
"""

import warnings

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fewstep.errors import DataError

__all__ = ["frechet", "kernel"]

SUBSET = 1000  # images per subset, KID's own protocol (arXiv 1801.01401, section 4)


def frechet(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> float:
    """Frechet distance of the two Gaussians with the means and covariances of ``a`` and ``b``, in float64; 0 is best.

    |mean_a - mean_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)), S with n - 1. Symmetric, and 0 for equal sets.

    *Limits* biased upwards when samples are few: two samples of size n from N(0, I_d) are about d (d + 5) / (2 n)
    apart, so compare models at one sample count only, and above d + 1 samples. Raises ``DataError`` below 2.

    *Source* arXiv 1706.08500, equation 6.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance  # here, since it takes a second to import

    a, b = _pair(a, b)
    metric = FrechetInceptionDistance(feature=_Ready(a.shape[1]))
    metric.update(a - a.mean(0), real=True)  # a common shift changes nothing and keeps digits
    metric.update(b - a.mean(0), real=False)
    return max(0.0, float(metric.compute()))  # rounding alone can make it negative


def kernel(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"], seed: int = 0, subsets: int = 100) -> float:
    """Kernel distance: unbiased squared maximum mean discrepancy with k(x, y) = (x.y / d + 1)^3, in float64; 0 is best.

    The mean over random subsets of min(1000, n, m) items, drawn from the seed; the global random state is left alone.
    Usable from a few hundred samples on. May be slightly negative, and is so for equal sets: the diagonal is
    dropped within a set but not between the two. Usually shown times 1000.

    *Limits* depends on the scale of the features; scale them to a mean square of about 1.
    *Source* arXiv 1801.01401.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    a, b = _pair(a, b)
    size = min(SUBSET, len(a), len(b))
    whole = size == len(a) == len(b)  # then all subsets are one and the same
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", message="Metric `Kernel Inception Distance` will save")
        torch.default_generator.manual_seed(seed)
        metric = KernelInceptionDistance(_Ready(a.shape[1]), subset_size=size, subsets=1 if whole else subsets)
        metric.update(a, real=True)
        metric.update(b, real=False)
        return float(metric.compute()[0])


class _Ready(nn.Module):
    """The feature network of features that exist already."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width  # torchmetrics asks for it, or sends a 3 x 299 x 299 image to find out

    def forward(self, x: Tensor) -> Tensor:
        return x


def _pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if min(len(a), len(b)) < 2 or a.shape[1] != b.shape[1]:
        raise DataError(
            f"A distance needs two sets of at least 2 items with equally many features, not {tuple(a.shape)} "
            f"and {tuple(b.shape)}."
        )
    return a.detach().double().cpu(), b.detach().double().cpu()
