"""Vendi score and spread where their values are known."""

import pytest
import torch

from fewstep.evaluate import spread, vendi

ORIGIN = torch.zeros(12)


@pytest.mark.parametrize("order", [0.5, 1.0, 2.0, torch.inf])
def test_vendi_of_n_orthogonal_samples_is_n(order: float):
    scales = torch.arange(1.0, 13)[:, None]
    assert vendi(scales * torch.eye(12), order, centre=ORIGIN) == pytest.approx(12)


@pytest.mark.parametrize("order", [1.0, 2.0, torch.inf])
def test_vendi_of_copies_is_1_about_any_centre(order: float):
    copies = torch.randn(1, 12, generator=torch.Generator().manual_seed(0)).expand(20, 12)
    assert vendi(copies, order, centre=ORIGIN) == pytest.approx(1)
    assert vendi(copies, order) == pytest.approx(1)


def test_vendi_of_m_orthogonal_clusters_is_m():
    assert vendi(torch.eye(12)[:4].repeat(7, 1), centre=ORIGIN) == pytest.approx(4)


def test_vendi_of_orthogonal_samples_about_their_own_mean_is_n_minus_1():
    assert vendi(torch.eye(12)) == pytest.approx(11)


def test_vendi_never_increases_with_the_order():
    x = torch.randn(50, 8, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 9)
    scores = [vendi(x, order) for order in (0.5, 1.0, 1.5, 2.0, 4.0, torch.inf)]
    assert scores == sorted(scores, reverse=True)


def test_vendi_is_the_same_from_the_wide_and_the_tall_side():
    x = torch.randn(30, 12, generator=torch.Generator().manual_seed(0))
    wide = torch.cat([x, torch.zeros(30, 40)], dim=1)
    assert vendi(wide, centre=torch.zeros(52)) == pytest.approx(vendi(x, centre=ORIGIN))


def test_vendi_sees_a_collapse_only_about_a_centre_from_outside():
    noise = torch.randn(200, 12, generator=torch.Generator().manual_seed(0))
    collapsed = 5 + 1e-3 * noise
    assert vendi(collapsed, centre=ORIGIN) == pytest.approx(1, abs=1e-3)
    assert vendi(collapsed) > 11


def test_spread_of_copies_is_0():
    assert spread(torch.ones(9, 4), None) == 0


def test_spread_of_two_points_is_their_distance():
    assert spread(torch.tensor([[0.0, 0.0], [3.0, 4.0]]), None) == pytest.approx(5)


def test_spread_is_the_mean_over_conditions_not_over_pairs():
    features = torch.tensor([[0.0], [1.0], [10.0], [10.0], [10.0]])
    assert spread(features, torch.tensor([0, 0, 7, 7, 7])) == pytest.approx(0.5)


def test_spread_takes_equal_embeddings_for_one_condition():
    features = torch.tensor([[0.0], [1.0], [10.0], [10.0], [10.0]])
    embeddings = torch.tensor([[0.1, 0.2]] * 2 + [[0.3, 0.1]] * 3)
    assert spread(features, embeddings) == pytest.approx(0.5)


def test_spread_of_single_samples_is_unknown():
    assert spread(torch.eye(3), torch.arange(3)) is None
