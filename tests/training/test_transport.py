"""Noise that is matched to the items of a batch."""

import pytest
import torch

from fewstep.batch import Batch
from fewstep.draws import Draws
from fewstep.scalars import Progress
from fewstep.testing import Given
from fewstep.training import Transport


def matched(x0: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    return Transport()(Batch(x0), x0, Given([z]), Progress())


def test_transport_pairs_order_statistics_in_one_dimension():
    x0, z = torch.randn(2, 33, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = matched(x0, z)
    assert torch.equal(found[:, 0][x0[:, 0].argsort()], z[:, 0].sort().values)


@pytest.mark.parametrize("shape", [(2,), (3, 4, 4)])
def test_transport_keeps_both_sides_and_comes_closer(shape: tuple[int, ...]):
    """The items stay where they are; the noise is the same multiset in another order."""
    x0, z = torch.randn(2, 17, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = matched(x0, z)
    order = (found.flatten(1)[:, None] == z.flatten(1)[None]).all(2).double().argmax(1)
    assert order.sort().values.tolist() == list(range(17))
    assert torch.equal(z[order], found)
    assert (found - x0).square().sum() < (z - x0).square().sum()
    for i in range(16):  # no two may change places with a gain
        swapped = found.clone()
        swapped[[i, i + 1]] = found[[i + 1, i]]
        assert (found - x0).square().sum() <= (swapped - x0).square().sum()


def test_transport_is_fresh_noise_every_time():
    x0, draws = torch.randn(9, 2, generator=torch.Generator().manual_seed(0)), Draws(3, torch.device("cpu"))
    first, second = (Transport()(Batch(x0), x0, draws, Progress()) for _ in range(2))
    assert first.dtype == x0.dtype
    assert not torch.equal(first.sort(0).values, second.sort(0).values)
