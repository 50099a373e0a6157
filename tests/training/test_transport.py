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


def test_within_labels_every_label_keeps_its_noise_and_is_matched_by_itself():
    x0, z = torch.randn(2, 24, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    c = torch.arange(24) % 3
    found = Transport(within=True)(Batch(x0 + 5.0 * c[:, None], c), x0 + 5.0 * c[:, None], Given([z]), Progress())
    for label in range(3):
        assert torch.equal(found[c == label], matched(x0[c == label], z[c == label]))


@pytest.mark.parametrize(("within", "mean"), [(False, (2 / torch.pi) ** 0.5), (True, 0.0)])
def test_across_labels_the_noise_of_a_label_is_no_longer_normal(within: bool, mean: float):
    """Two labels far apart share the noise out between them: one gets the upper half, of mean sqrt(2 / pi)."""
    generator = torch.Generator().manual_seed(0)
    c, z = torch.arange(400) % 2, torch.randn(400, 1, generator=generator, dtype=torch.float64)
    x0 = 100.0 * c[:, None].double()
    found = Transport(within)(Batch(x0, c), x0, Given([z]), Progress())
    assert found[c == 1].mean().item() == pytest.approx(mean, abs=0.1)
