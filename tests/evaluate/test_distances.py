"""Frechet and kernel distance against mathematics."""

import pytest
import torch
from torch import Tensor

from fewstep.errors import DataError
from fewstep.evaluate import frechet, kernel


def normal(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_frechet_of_two_gaussians_is_the_formula_plus_small_sample_bias():
    distance = frechet(normal(4000, 16, 0), 0.1 + 1.2 * normal(4000, 16, 1))
    exact = 0.16 + 16 * (1 + 1.44 - 2.4)
    assert exact == pytest.approx(0.80)
    assert exact < distance < exact + 0.16  # the card computed .884 with other draws


def test_frechet_bias_between_equal_laws_is_d_times_d_plus_5_over_2n():
    distances = [frechet(normal(1000, 32, 2 * seed), normal(1000, 32, 2 * seed + 1)) for seed in range(5)]
    assert sum(distances) / 5 == pytest.approx(32 * 37 / 2000, rel=0.1)


def test_frechet_of_a_set_and_itself_is_0():
    a = normal(200, 16, 0)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_frechet_is_symmetric():
    a, b = normal(300, 8, 0), 1 + 2 * normal(200, 8, 1)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-9)


def test_frechet_ignores_a_common_shift_however_large():
    a, b = normal(300, 8, 0), 1 + 2 * normal(200, 8, 1)
    assert frechet(a + 1e6, b + 1e6) == pytest.approx(frechet(a, b), rel=1e-6)


def test_frechet_of_a_pure_shift_is_its_squared_length():
    a = normal(300, 8, 0)
    assert frechet(a, a + 0.5) == pytest.approx(8 * 0.25, rel=1e-6)


def test_frechet_of_one_feature_is_that_of_two_normal_laws():
    a, b = normal(300, 1, 0), 1 + 2 * normal(200, 1, 1)
    wanted = (a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2
    assert frechet(a, b) == pytest.approx(float(wanted), rel=1e-9)


def test_frechet_stands_features_that_are_constant():
    a, b = normal(100, 4, 0), normal(100, 4, 1)
    flat = torch.zeros(100, 3, dtype=torch.float64)
    assert frechet(torch.cat([a, flat], 1), torch.cat([b, flat], 1)) == pytest.approx(frechet(a, b), abs=1e-6)


def test_kernel_of_equal_laws_has_mean_near_0():
    values = torch.tensor([kernel(normal(200, 16, 2 * seed), normal(200, 16, 2 * seed + 1)) for seed in range(40)])
    assert values.mean().abs() < 3 * values.std() / 40**0.5
    linear_part = (8 * 9 / 16) ** 0.5 / 200  # of the standard deviation, from 3 x.y / d alone
    assert linear_part < values.std() < 1.5 * linear_part


def test_kernel_ignores_a_common_rotation():
    a, b = normal(300, 8, 0), 0.5 + normal(300, 8, 1)
    rotation = torch.linalg.qr(normal(8, 8, 2)).Q
    assert kernel(a @ rotation, b @ rotation) == pytest.approx(kernel(a, b), rel=1e-9)


def test_kernel_of_a_set_and_itself_is_slightly_negative():
    a = normal(200, 16, 0)
    assert -0.5 < kernel(a, a) < 0


def test_kernel_is_the_unbiased_estimate_when_one_subset_holds_all():
    a, b = normal(60, 5, 0), 1 + normal(60, 5, 1)
    xx, yy, xy = ((p @ q.T / 5 + 1) ** 3 for p, q in ((a, a), (b, b), (a, b)))
    within = [(k.sum() - k.trace()) / (60 * 59) for k in (xx, yy)]
    assert kernel(a, b) == pytest.approx(float(sum(within) - 2 * xy.mean()), rel=1e-9)


def test_kernel_is_reproducible_and_leaves_the_global_random_state_alone():
    a, b = normal(1200, 4, 0), normal(1100, 4, 1)
    before = torch.get_rng_state()
    assert kernel(a, b, seed=3, subsets=2) == kernel(a, b, seed=3, subsets=2)
    assert kernel(a, b, seed=3, subsets=2) != kernel(a, b, seed=4, subsets=2)
    assert torch.equal(torch.get_rng_state(), before)


class Ready(torch.nn.Module):
    """The feature network of features that exist already."""

    num_features = 6

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.slow  # torchmetrics takes as long to import as all tests above together
@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save")
def test_distances_are_those_of_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    a, b = normal(1200, 6, 0), 0.3 + 1.1 * normal(1100, 6, 1)
    theirs = FrechetInceptionDistance(Ready()), KernelInceptionDistance(Ready(), subset_size=1000, subsets=3)
    for metric in theirs:
        metric.update(a, real=True)
        metric.update(b, real=False)
    assert frechet(a, b) == pytest.approx(float(theirs[0].compute()), rel=1e-9)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        assert kernel(a, b, seed=5, subsets=3) == pytest.approx(float(theirs[1].compute()[0]), rel=1e-9)


@pytest.mark.parametrize("distance", [frechet, kernel])
def test_distance_refuses_a_single_item(distance):
    with pytest.raises(DataError, match="at least 2"):
        distance(normal(1, 4, 0), normal(9, 4, 1))
