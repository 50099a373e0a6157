"""Pairs of times, curricula and endpoints against the figures of the papers."""

import math
from itertools import pairwise

import pytest
import torch

from fewstep.pairs import Below, Cells, Doubling, Even, Flat, LogNormalCells, Origin, Ratio, Segment, SquareRoot
from fewstep.process import EDM
from fewstep.scalars import Progress
from fewstep.times import Explicit, Karras, LogNormal, Uniform

MIDDLES = (torch.arange(200000, dtype=torch.float64) + 0.5) / 200000


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_doubling_is_the_curriculum_of_ict():
    """K = 400000: a stage of 50000 updates each with 11, 21, ..., 1281 points."""
    at = {stage: Doubling().at(Progress(50_000 * stage, 400_000)) for stage in range(8)}
    assert list(at.values()) == [11, 21, 41, 81, 161, 321, 641, 1281]
    assert Doubling().at(Progress(49_999, 400_000)) == 11
    assert Doubling().at(Progress(400_000, 400_000)) == 1281


def test_doubling_survives_a_training_shorter_than_its_stages():
    assert [Doubling().at(Progress(update, 3)) for update in (0, 1, 2, 3)] == [11, 21, 41, 81]


def test_square_root_is_the_schedule_of_consistency_training():
    """s0 = 2 and s1 = 150 give 2, 76, 107 and 151 points at the start, quarters and end."""
    at = [SquareRoot(2, 150).at(Progress(update, 100)) for update in (0, 25, 50, 100)]
    assert at == [2, 76, 107, 151]


def test_even_is_constant():
    assert {Even(18).at(Progress(update, 10)) for update in range(11)} == {18}


def drawn(pairs: Cells, u: torch.Tensor = MIDDLES) -> tuple[torch.Tensor, torch.Tensor]:
    return pairs.draw(EDM(), u, Progress())


@pytest.mark.parametrize("which", [Flat(), LogNormalCells()], ids=["flat", "lognormal"])
def test_cells_are_neighbours_on_the_grid(which):
    grid = Karras().points(18)
    t, r = drawn(Cells(Karras(), Even(18), which))
    index = torch.searchsorted(grid.flip(0), t)
    assert torch.equal(grid.flip(0)[index], t)
    assert torch.equal(grid.flip(0)[index - 1], r)
    assert set(t.tolist()) == set(grid[:-1].tolist())


def test_flat_cells_are_equally_likely():
    t, _ = drawn(Cells(Karras(), Even(11), Flat()))
    assert t.unique(return_counts=True)[1].tolist() == [20000] * 10


def test_lognormal_cells_have_the_published_probabilities():
    """p(i) ~ erf((ln t_{i+1} - mean) / (sqrt2 std)) - erf((ln t_i - mean) / (sqrt2 std)); they sum to 1."""
    mean, std, rising = -1.1, 2.0, Karras().points(11).flip(0).tolist()
    edges = [math.erf((math.log(t) - mean) / (math.sqrt(2) * std)) for t in rising]
    wanted = [(b - a) / (edges[-1] - edges[0]) for a, b in pairwise(edges)]
    t, _ = drawn(Cells(Karras(), Even(11), LogNormalCells()))
    found = t.unique(return_counts=True)[1].double() / len(t)
    assert found.sum().item() == pytest.approx(1)
    assert found.tolist() == pytest.approx(wanted, abs=1e-5)


def test_lognormal_cells_of_the_last_stage_have_the_mean_of_ict():
    t, r = drawn(Cells(Karras(), Even(1281), LogNormalCells()))
    middle = ((t.log() + r.log()) / 2).mean().item()
    assert middle == pytest.approx(-1.08, abs=0.01)


def test_cells_reach_both_ends_of_the_uniform_numbers():
    t, r = drawn(Cells(Karras(), Even(18)), column(1e-12, 1 - 1e-12))
    assert t.tolist() == pytest.approx([80.0, Karras().points(18)[16].item()])
    assert r[1].item() == pytest.approx(0.002)


def test_lognormal_cells_may_end_at_0():
    _, r = drawn(Cells(Explicit((3.0, 1.0, 0.1)), Even(3), LogNormalCells()))
    assert r.isfinite().all()
    _, r = drawn(Cells(Uniform(0.0, 3.0), Even(4), LogNormalCells(mean=-3.0)), column(1 - 1e-9))
    assert r.item() == 0


def ratio(t: torch.Tensor, stage: int, q: float = 2.0) -> torch.Tensor:
    """Return r for the given times, by drawing the quantiles at which they stand."""
    law = LogNormal()
    u = torch.special.ndtr((t.log() - law.mean) / law.std)
    pairs = Ratio(law, q=q)
    again, r = pairs.draw(EDM(), u, Progress(stage, pairs.stages))
    assert torch.allclose(again, t, rtol=1e-6)
    return r


def test_ect_starts_with_denoising_below_ln_7():
    edge = math.log(7)
    assert edge == pytest.approx(1.9459, abs=1e-4)
    assert ratio(column(0.01, 1.0, edge * (1 - 1e-6)), stage=0).tolist() == [0, 0, 0]
    assert (ratio(column(edge * (1 + 1e-5), 3.0), stage=0) > 0).all()


def test_ect_halves_the_time_far_out_in_the_first_stage():
    assert (ratio(column(20.0), stage=0) / 20).item() == pytest.approx(0.5, abs=1e-6)


def test_ect_keeps_a_neighbour_above_0_from_the_third_stage_on():
    assert (ratio(column(0.01), stage=2) / 0.01).item() == pytest.approx(0.3775, abs=1e-4)
    assert (ratio(column(1e-4, 0.01, 1.0, 20.0), stage=2) > 0).all()
    assert ratio(column(0.01), stage=1).item() == 0


def test_ect_with_256_stays_within_two_percent():
    t = torch.logspace(-3, 1.2, 200, dtype=torch.float64)
    part = ratio(t, stage=0, q=256.0) / t
    assert part.min().item() == pytest.approx(0.9805, abs=1e-4)
    assert part.max().item() == pytest.approx(0.9961, abs=1e-4)


def test_ect_stages_rise_at_even_distances_and_stop():
    stages = [Ratio(stages=8).stage(Progress(update, 80)) for update in range(0, 81)]
    assert stages == [min(update // 10, 7) for update in range(0, 81)]


def test_origin_is_0():
    assert Origin().draw(column(3.0, 1.0), column(2.0, 0.5), column(0.3, 0.7)).tolist() == [0, 0]


def test_segment_is_the_start_of_the_segment_of_t():
    t, r = column(80.0, 10.5, 10.0, 1.5, 0.5), column(79.0, 10.1, 9.0, 1.2, 0.4)
    assert Segment((10.0, 1.0)).draw(t, r, t).tolist() == [10, 10, 1, 1, 0]


def test_segment_never_lies_above_r():
    assert Segment((10.0, 1.0)).draw(column(10.5, 1.1), column(9.0, 1.0), column(0.5, 0.5)).tolist() == [9, 1]


def test_below_is_uniform_up_to_r():
    r = torch.full_like(MIDDLES, 3.0)
    s = Below().draw(r + 1, r, MIDDLES)
    assert (s <= r).all()
    assert s.mean().item() == pytest.approx(1.5)
    assert s.std().item() == pytest.approx(3 / math.sqrt(12), rel=1e-4)


@pytest.mark.parametrize("pairs", [Cells(Karras(), Even(18)), Ratio()], ids=["cells", "ratio"])
def test_no_pair_lies_below_the_lowest_time(pairs):
    t, r = pairs.draw(EDM(), MIDDLES, Progress())
    assert (r < t).all()
    assert (r >= pairs.lowest * (1 - 1e-12)).all()
