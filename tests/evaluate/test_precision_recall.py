"""Precision and recall against their definition and the numbers of the literature."""

import numpy as np
import pytest
import torch
from torch import Tensor

from fewstep.errors import DataError
from fewstep.evaluate import manifold, precision_recall


def normal(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_definition(real: Tensor, fake: Tensor, k: int) -> tuple[float, float]:
    x, y = real.numpy(), fake.numpy()
    across = np.sqrt(((y[:, None] - x[None]) ** 2).sum(-1))
    radii = [np.sort(np.sqrt(((s[:, None] - s[None]) ** 2).sum(-1)), axis=1)[:, k] for s in (x, y)]
    return float((across < radii[0]).any(1).mean()), float((radii[1] > across.T).any(1).mean())


@pytest.mark.parametrize("k", [1, 3, 5])
def test_precision_and_recall_follow_their_definition_in_blocks(k: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(manifold, "BLOCK", 17)
    real, fake = normal(100, 3, 0), 0.8 + 0.7 * normal(80, 3, 1)
    assert precision_recall(real, fake, k) == pytest.approx(by_definition(real, fake, k))


def test_precision_and_recall_of_equal_sets_are_1():
    a = normal(200, 8, 0)
    assert precision_recall(a, a) == (1.0, 1.0)


def test_point_that_occurs_k_times_covers_itself_and_k_plus_1_times_does_not():
    a = normal(50, 4, 0)
    assert precision_recall(a.repeat(3, 1), a.repeat(3, 1), k=3) == (1.0, 1.0)
    assert precision_recall(a.repeat(4, 1), a.repeat(4, 1), k=3) == (0.0, 0.0)


def test_contraction_raises_precision_and_loses_recall():
    real = normal(1500, 16, 0)
    measured = [precision_recall(real, scale * normal(1500, 16, 1)) for scale in (0.5, 0.7, 0.85, 1.0)]
    precision, recall = zip(*measured, strict=True)
    assert list(precision) == sorted(precision, reverse=True)
    assert list(recall) == sorted(recall)
    assert precision[0] > 0.99
    assert recall[0] < 0.1
    assert precision[-1] == pytest.approx(recall[-1], abs=0.05)  # equal laws: the two agree, below 1


def test_swapping_the_arguments_exchanges_precision_and_recall():
    real, fake = normal(200, 8, 0), 0.7 * normal(300, 8, 1)
    assert precision_recall(real, fake) == precision_recall(fake, real)[::-1]


def test_far_sets_cover_nothing_of_each_other():
    assert precision_recall(normal(50, 4, 0), 100 + normal(50, 4, 1)) == (0.0, 0.0)


def test_too_few_points_are_refused():
    with pytest.raises(DataError, match="4 items a side"):
        precision_recall(normal(3, 4, 0), normal(50, 4, 1))
