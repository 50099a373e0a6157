"""Pairs of times and their curricula against the figures of the papers."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from fewstep.endpoints import Opposite, Segments
from fewstep.errors import RecipeError
from fewstep.pairs import Cells, Dyadic, Flat, Leaps, LogNormalCells, Midpoints, Moment, Ratio, ToData
from fewstep.points import Doubling, Even, Exponential, Halving, SquareRoot
from fewstep.process import EDM
from fewstep.scalars import Progress
from fewstep.times import Explicit, Karras, LogNormal, Trailing, Uniform, grid

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


def test_exponential_is_the_curriculum_of_multistep_consistency():
    """exp(ln 64 + f / 0.5 (ln 1280 - ln 64)) teacher steps over the first half, always a multiple of the segments."""
    for segments in (1, 2, 4, 8, 16):
        rule = Exponential(64, 1280, segments)
        at = [rule.at(Progress(update, 200)) - 1 for update in range(201)]
        assert all(cells % segments == 0 for cells in at)
        assert at == sorted(at)
        assert (at[0], at[100], at[200]) == (64, 1280, 1280)
        assert abs(at[50] - math.sqrt(64 * 1280)) <= segments / 2 + 0.5


def test_halving_halves_the_steps_in_equal_rounds():
    at = [Halving(8, 4).at(Progress(update, 12)) - 1 for update in range(13)]
    assert at == [8] * 3 + [4] * 3 + [2] * 3 + [1] * 4
    with pytest.raises(RecipeError, match="12 intervals cannot be halved 3 times; accepted are multiples of 8"):
        Halving(12, 4)


@pytest.mark.parametrize("rule", [Even(), SquareRoot(2, 40), Doubling(), Halving()], ids=str)
def test_a_curriculum_has_as_many_numbers_as_it_says(rule):
    assert len({rule.at(Progress(update, 4000)) for update in range(4001)}) == rule.stages


def test_even_is_constant():
    assert {Even(18).at(Progress(update, 10)) for update in range(11)} == {18}


def drawn(pairs: Cells, u: torch.Tensor = MIDDLES) -> tuple[torch.Tensor, torch.Tensor]:
    return pairs.draw(EDM(), u, Progress())


def test_times_that_are_asked_for_are_ends_of_as_many_cells():
    """The nearest points are moved there, never the last one; what is a point already moves nothing."""
    plain, asked = Cells(Karras(), Even(18)), (79.0, 2.0, 0.8, 0.4, 0.0021)
    before, after = (grid(Karras(), 17).tolist(), sorted({*drawn(replace(plain, through=asked))[0].tolist()})[::-1])
    assert {*asked} < {*after}
    assert len(after) == 17
    assert len({*after} - {*before}) == len(asked)
    assert drawn(replace(plain, through=asked))[1].min() == before[-1]
    assert all(map(torch.equal, drawn(plain), drawn(replace(plain, through=(before[0], before[7])))))


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


PAIRS = [Cells(Karras(), Even(18)), Ratio(), Leaps(Karras(), 17), Midpoints(Karras(), Even(5)), Dyadic(80.0)]


@pytest.mark.parametrize("pairs", PAIRS, ids=lambda each: type(each).__name__)
def test_no_pair_lies_below_the_lowest_time(pairs):
    t, r = pairs.draw(EDM(), MIDDLES, Progress())
    assert (r < t).all()
    assert (r >= pairs.lowest * (1 - 1e-12)).all()


def test_leaps_have_the_published_lengths_and_places():
    """CTM: n cells with p(n) ~ n up to most, then t anywhere that n cells below still lie on the grid, all alike."""
    grid, most = Karras().points(9), 5
    t, r = Leaps(Karras(), most, Even(9)).draw(EDM(), MIDDLES, Progress())
    places = [torch.searchsorted(grid.flip(0), time) for time in (t, r)]
    assert all(torch.equal(grid.flip(0)[place], time) for place, time in zip(places, (t, r), strict=True))
    leap = places[0] - places[1]
    for n in range(1, most + 1):
        chosen = leap == n
        assert chosen.double().mean().item() == pytest.approx(n / 15, abs=1e-5)
        found, counts = places[0][chosen].unique(return_counts=True)
        assert found.tolist() == list(range(n, 9))
        assert (counts.double() / chosen.sum() * (9 - n)).tolist() == pytest.approx([1] * (9 - n), abs=1e-3)


def test_leaps_are_no_longer_than_the_grid_and_follow_the_power():
    t, r = Leaps(Karras(), 17, Even(4), power=0.0).draw(EDM(), MIDDLES, Progress())
    leap = torch.searchsorted(Karras().points(4).flip(0), t) - torch.searchsorted(Karras().points(4).flip(0), r)
    assert leap.unique(return_counts=True)[1].double().div(len(t)).tolist() == pytest.approx([1 / 3] * 3, abs=1e-5)
    t, r = Leaps(Karras(), 17, Even(18)).draw(EDM(), column(1e-12, 1 - 1e-12), Progress())
    assert torch.equal(t, Karras().points(18)[:1].expand(2))
    assert r.tolist() == pytest.approx([Karras().points(18)[1].item(), 0.002])


@pytest.mark.parametrize("first", [8, 12, 24, 1000])
@pytest.mark.parametrize("schedule", [Trailing(1.0), Trailing(80.0, 7.0), Uniform(0.0, 1000.0), Karras()], ids=str)
def test_midpoints_halve_the_cell_whose_other_end_is_the_segments(schedule, first: int):
    """In every round: t and s are neighbours on the student's grid, r is a point of the grid of its teacher."""
    rule = Halving(first, 3)
    for update in range(3):
        now, cells = Progress(update, 3), first // 2**update
        t, r = Midpoints(schedule, rule).draw(EDM(), MIDDLES[::20], now)
        s = Segments(schedule, rule).draw(t, r, MIDDLES[::20], now)
        fine = grid(schedule, 2 * cells)
        fine[-1] = 0
        place = 2 * (MIDDLES[::20] * cells).long()
        assert torch.allclose(t, fine[place], rtol=1e-12)
        assert torch.allclose(r, fine[place + 1], rtol=1e-12)
        assert torch.allclose(s, fine[place + 2], rtol=1e-12)


def test_dyadic_steps_meet_in_their_middle():
    """Shortcut models: sizes 1, 1/2, ..., alike, t any multiple of the size; s as far below r as t is above."""
    pairs = Dyadic(1.0, most=8)
    t, r = pairs.draw(EDM(), MIDDLES, Progress())
    size = 2 * (t - r)
    s = Opposite().draw(t, r, MIDDLES, Progress())
    assert torch.equal(t - r, r - s)
    assert size.unique(return_counts=True)[0].tolist() == [1 / 8, 1 / 4, 1 / 2, 1]
    assert size.unique(return_counts=True)[1].tolist() == [len(MIDDLES) / 4] * 4
    for length in (1, 2, 4, 8):
        chosen = size == 1 / length
        assert t[chosen].unique().tolist() == [i / length for i in range(1, length + 1)]
    assert s.min() == 0


def test_moment_is_one_time_and_a_share_of_it():
    t, r = Moment(1.5, 0.8).draw(EDM(), MIDDLES[:3], Progress())
    assert t.tolist() == [1.5] * 3
    assert r.tolist() == pytest.approx([1.2] * 3)


def test_to_data_goes_all_the_way():
    t, r = ToData(LogNormal()).draw(EDM(), MIDDLES, Progress())
    assert torch.equal(t, LogNormal().times(EDM(), MIDDLES))
    assert r.abs().max() == 0
