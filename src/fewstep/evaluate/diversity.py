"""How varied samples are: the Vendi score, and the mean distance of samples of one condition."""

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["spread", "vendi"]

BLOCK = 1024  # rows of a distance matrix held at once


def vendi(features: Float[Tensor, "n d"], order: float = 1.0, centre: Float[Tensor, " d"] | None = None) -> float:
    """Vendi score: the effective number of distinct samples, from 1 to min(n, d + 1).

    exp(-sum l ln l), or (sum l^q)^(1 / (1 - q)) for order q, over the eigenvalues l of K / n; K is the cosine of the
    features after ``centre`` is subtracted, since raw features of one network all point the same way.

    The default centre is the mean of the samples themselves, which is blind to their scale: a collapsed generator with
    a little noise still scores high. To compare models pass ONE centre, such as the mean of the real features.

    *Exact when* the centre is 0: n orthogonal samples give n, n copies 1, m orthogonal clusters of equal size m.
    Centred on themselves, n orthogonal samples of one length give n - 1 (a simplex) and n copies 1. Never increases
    with the order. Samples right at the centre have no direction and count as one more, orthogonal to all.
    *Limits* grows with n: compare at one sample count. Rewards varied rubbish: read it beside a measure of realism.

    *Source* arXiv 2210.02410, equation 1; orders: arXiv 2310.12952.
    """
    x = features.detach().double()
    x = x - (x.mean(0) if centre is None else centre.to(x))
    length = x.norm(dim=1, keepdim=True)
    still = length == 0
    x = torch.cat([x / length.masked_fill(still, 1), still.double()], dim=1)
    gram = x.T @ x if x.shape[0] > x.shape[1] else x @ x.T  # the same eigenvalues but for zeros
    shares = torch.linalg.eigvalsh(gram / len(x))
    return _effective_number(shares[shares > 1e-12], order)  # rounding leaves 1e-16 in place of 0


def spread(features: Float[Tensor, "n d"], labels: Tensor | None) -> float | None:
    """Mean over conditions of the mean Euclidean distance between two different samples of one condition; 0 for copies.

    ``labels`` holds one condition per sample (classes, or embeddings that are equal within a condition); ``None`` means
    one condition for all. ``None`` is returned when no condition has two samples.
    """
    features = features.detach().double()
    if labels is None:
        groups = [features]
    else:
        index = torch.unique(labels.to(features.device), dim=0, return_inverse=True)[1]
        groups = [features[index == i] for i in range(int(index.max()) + 1)]
    means = [_mean_distance(group) for group in groups if len(group) > 1]
    return sum(means) / len(means) if means else None


def _effective_number(shares: Tensor, order: float) -> float:
    if order == 1:
        return float(torch.exp(-(shares * shares.log()).sum()))
    if order == torch.inf:
        return float(1 / shares.max())
    return float(shares.pow(order).sum().pow(1 / (1 - order)))


def _mean_distance(group: Tensor) -> float:
    total = 0.0
    for block in torch.split(group, BLOCK):
        total += float(torch.cdist(block, group, compute_mode="donot_use_mm_for_euclid_dist").sum())
    return total / (len(group) * (len(group) - 1))
