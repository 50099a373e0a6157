"""How far two sets of features lie apart: the Frechet distance and the kernel distance, as torchmetrics computes them.

Both speak of whatever features they are given. Never compare numbers from two feature networks or two sample counts.
"""

import torch
from jaxtyping import Float
from torch import Tensor

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
    a, b = _pair(a, b)
    s_a, s_b = (x.T.cov().reshape(x.shape[1], -1) for x in (a, b))  # of one feature it is a number
    root = torch.linalg.eigvals(s_a @ s_b).sqrt().real.sum()
    apart = (a.mean(0) - b.mean(0)).square().sum()
    return max(0.0, float(apart + s_a.trace() + s_b.trace() - 2 * root))  # rounding alone can make it negative


def kernel(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"], seed: int = 0, subsets: int = 100) -> float:
    """Kernel distance: unbiased squared maximum mean discrepancy with k(x, y) = (x.y / d + 1)^3, in float64; 0 is best.

    The mean over random subsets of min(1000, n, m) items, drawn from the seed; the global random state is left alone.
    Usable from a few hundred samples on. May be slightly negative, and is so for equal sets: the diagonal is
    dropped within a set but not between the two. Usually shown times 1000.

    *Limits* depends on the scale of the features; scale them to a mean square of about 1.
    *Source* arXiv 1801.01401.
    """
    a, b = _pair(a, b)
    size, draw = min(SUBSET, len(a), len(b)), torch.Generator().manual_seed(seed)
    whole = size == len(a) == len(b)  # then all subsets are one and the same
    found = [
        _discrepancy(*(items[torch.randperm(len(items), generator=draw)[:size]] for items in (a, b)))
        for _ in range(1 if whole else subsets)
    ]
    return sum(found) / len(found)


def _discrepancy(a: Tensor, b: Tensor) -> float:
    """Return the unbiased squared maximum mean discrepancy of two sets of one size."""
    n, d = a.shape
    aa, bb, ab = ((x @ y.T / d + 1) ** 3 for x, y in ((a, a), (b, b), (a, b)))
    within = (aa.sum() - aa.trace() + bb.sum() - bb.trace()) / (n * (n - 1))
    return float(within - 2 * ab.mean())


def _pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if min(len(a), len(b)) < 2 or a.shape[1] != b.shape[1]:
        raise DataError(
            f"A distance needs two sets of at least 2 items with equally many features, not {tuple(a.shape)} "
            f"and {tuple(b.shape)}."
        )
    return a.detach().double().cpu(), b.detach().double().cpu()
