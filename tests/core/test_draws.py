"""Random numbers: named seeds, one stream per turn, one per item."""

import pytest
import torch

from fewstep.draws import Draws, item_noise, seed_for

CPU = torch.device("cpu")


def test_seeds_are_the_same_on_every_machine():
    assert seed_for(0, 17, "student") == 2054295441358708538  # resuming a run relies on it
    assert seed_for() != seed_for(0) != seed_for("0") != seed_for(0, 0)
    assert len({seed_for(seed, step, name) for seed in range(5) for step in range(50) for name in "ab"}) == 500


def test_seeds_fit_a_generator():
    seeds = [seed_for(i) for i in range(1000)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62


def test_item_noise_depends_on_the_items_own_seed_only():
    batch = item_noise(range(100, 132), (3, 4), steps=2)
    assert batch.shape == (2, 32, 3, 4)
    assert torch.equal(batch[:, 17], item_noise([117], (3, 4), steps=2)[:, 0])
    assert torch.equal(batch[:, 17], item_noise([5, 117, 6], (3, 4), steps=2)[:, 1])


@pytest.mark.parametrize("shape", [(2,), (3, 4), (17,), (1, 8, 8)], ids=str)
def test_first_noise_is_the_same_however_many_steps_follow(shape):
    """So that one seed starts the teacher's path and the student's paths of 1, 2 and 4 steps at one point."""
    one, two, four = (item_noise([7, 8], shape, steps) for steps in (1, 2, 4))
    assert torch.equal(one[0], four[0])
    assert torch.equal(two[1], four[1])


def test_item_noise_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    item_noise([1, 2, 3], (4,))
    Draws(0, CPU).normal(torch.zeros(3))
    assert torch.equal(torch.get_rng_state(), before)


def test_item_noise_is_standard_normal():
    z = item_noise(range(4000), (8,))[0]
    assert z.mean().item() == pytest.approx(0, abs=0.03)
    assert z.var().item() == pytest.approx(1, abs=0.03)


def drawn(draws: Draws, items: int) -> list[torch.Tensor]:
    like = torch.zeros(items, 2, 3, dtype=torch.float64)
    return [
        draws.normal(like),
        draws.uniform(items),
        draws.normal(like),
        torch.tensor(draws.integer(10**9)).expand(items),
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 12])
def test_a_batch_in_pieces_draws_the_numbers_of_the_whole(size: int):
    whole = drawn(Draws(3, CPU), 12)
    pieces = [drawn(Draws(3, CPU, offset, 12), size) for offset in range(0, 12, size)]
    for i, expected in enumerate(whole):
        assert torch.equal(torch.cat([piece[i] for piece in pieces]), expected)


def test_draws_have_the_asked_shape_and_precision():
    draws = Draws(0, CPU)
    assert draws.normal(torch.zeros(3, 4)).dtype == torch.float32
    assert draws.uniform(5).dtype == torch.float64


def test_uniform_numbers_stay_inside_the_open_interval():
    u = Draws(0, CPU).uniform(100000)
    assert 0 < u.min() < 1e-3
    assert 1 - 1e-3 < u.max() < 1
    assert torch.special.ndtri(u).isfinite().all()


def test_integers_reach_every_value():
    draws = Draws(0, CPU)
    assert {draws.integer(4) for _ in range(200)} == {0, 1, 2, 3}


def test_different_seeds_draw_different_numbers():
    assert not torch.equal(*(Draws(seed, CPU).uniform(4) for seed in (1, 2)))
