"""Precision and recall: how many generated samples look real, and how many real ones the generator can reach."""

import torch
from jaxtyping import Float
from torch import Tensor

from fewstep.errors import DataError

__all__ = ["precision_recall"]

BLOCK = 1024  # rows of a distance matrix held at once


def precision_recall(real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"], k: int = 3) -> tuple[float, float]:
    """(precision, recall) of generated features against real ones; real ones come FIRST, swapping exchanges the two.

    precision = mean_j 1[some i: |fake_j - real_i| < r_k(real_i)],
    recall = mean_i 1[some j: |real_i - fake_j| < r_k(fake_j)],
    r_k = distance to the k-th neighbour within the own set, oneself excluded. In float64, a block at a time.

    *Exact when* the two sets are equal and no point occurs more than k times: both are 1. Strictly less: a point that
    occurs more than k times has radius 0 and covers nothing, not even its own copies.
    *Limits* not 1 for equal laws (about .6 in 64 dimensions) and dependent on n, m and k: keep them. Outliers inflate
    both. Raises ``DataError`` when a set has fewer than k + 1 items.

    *Source* arXiv 1904.06991, section 3; ``<`` as in prdc (torch-fidelity has ``<=``).
    """
    if min(len(real), len(fake)) <= k:
        raise DataError(
            f"Precision and recall with k = {k} need {k + 1} items a side, not {len(real)} and {len(fake)}."
        )
    real, fake = real.detach().double(), fake.detach().double()
    return _covered(fake, real, _radii(real, k)), _covered(real, fake, _radii(fake, k))


def _radii(points: Tensor, k: int) -> Tensor:
    """Distance to the k-th other point; oneself, at distance 0, is the first of the k + 1 nearest."""
    return torch.cat([_distances(block, points).kthvalue(k + 1, dim=1).values for block in torch.split(points, BLOCK)])


def _covered(points: Tensor, centres: Tensor, radii: Tensor) -> float:
    """Share of the points that lie inside the ball of at least one centre."""
    inside = torch.cat([(_distances(block, centres) < radii).any(1) for block in torch.split(points, BLOCK)])
    return float(inside.double().mean())


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # not through matrix products: these would put copies of a point at a small distance from each other
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
