"""Where the two sides of a consistency cost meet."""

import pytest
import torch

from fewstep.endpoints import Beneath, OnGrid, Opposite, Origin, Segments
from fewstep.pairs import Cells, Leaps
from fewstep.points import Even, Exponential
from fewstep.process import EDM
from fewstep.scalars import Progress
from fewstep.times import Explicit, Karras, Trailing, Uniform, grid

MIDDLES = (torch.arange(120000, dtype=torch.float64) + 0.5) / 120000
NOW = Progress()
EDGES = Segments(Explicit((80.0, 10.0, 1.0, 0.5)), Even(4))  # 80, 10, 1 and, in the place of the last one, 0


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_origin_is_0():
    assert Origin().draw(column(3.0, 1.0), column(2.0, 0.5), column(0.3, 0.7), NOW).tolist() == [0, 0]


def test_segment_is_the_start_of_the_segment_of_t():
    t, r = column(80.0, 10.5, 10.0, 1.5, 0.5), column(79.0, 10.1, 9.0, 1.2, 0.4)
    assert EDGES.draw(t, r, t, NOW).tolist() == [10, 10, 1, 1, 0]


def test_segment_never_lies_above_r():
    assert EDGES.draw(column(10.5, 1.1), column(9.0, 1.0), column(0.5, 0.5), NOW).tolist() == [9, 1]


def test_segments_of_a_curriculum_are_tied_together_while_training():
    rule = Segments(Trailing(1.0), Exponential(1, 4, until=1.0))
    t = column(0.9, 0.6, 0.3)
    for update, wanted in ((0, [0, 0, 0]), (1, [0.5, 0.5, 0]), (2, [0.75, 0.5, 0.25])):
        assert rule.draw(t, t - 0.01, t, Progress(update, 2)).tolist() == wanted


@pytest.mark.parametrize("points", [3, 5, 17])
def test_segments_on_a_grid_are_the_cells_of_the_grid(points: int):
    """A cell whose ends are (t, r) lies in one segment: with as many segments as cells, s is r."""
    schedule = Karras()
    t, r = Cells(schedule, Even(17)).draw(EDM(), MIDDLES[::100], NOW)
    s = Segments(schedule, Even(points)).draw(t, r, t, NOW)
    edges = grid(schedule, points - 1)
    edges[-1] = 0
    assert set(s.tolist()) <= set(edges.tolist())
    assert (s <= r).all()
    if points == 17:
        assert torch.equal(s, torch.where(r < 0.0021, 0, r))


def test_a_point_of_the_grid_up_to_r_all_alike():
    """CTM: s uniform among the points from r down to the last one, which counts as 0."""
    schedule, points = Karras(), 6
    rising = grid(schedule, points - 1).flip(0)
    rising[0] = 0
    for index in range(points):
        r = torch.full_like(MIDDLES, rising[index].item())
        s = OnGrid(schedule, Even(points)).draw(r + 1, r, MIDDLES, NOW)
        found, counts = s.unique(return_counts=True)
        assert torch.equal(found, rising[: index + 1])
        assert counts.tolist() == [len(MIDDLES) / (index + 1)] * (index + 1)


def test_a_point_of_the_grid_is_r_itself_outside_the_share():
    schedule = Uniform(0.0, 4.0)
    r = torch.full_like(MIDDLES, 3.0)
    s = OnGrid(schedule, Even(5), share=0.25).draw(r + 1, r, MIDDLES, NOW)
    assert (s[MIDDLES > 0.25] == 3).all()
    found, counts = s[MIDDLES < 0.25].unique(return_counts=True)
    assert found.tolist() == [0, 1, 2, 3]
    assert counts.tolist() == [len(MIDDLES) / 16] * 4


def test_leaps_and_a_point_of_the_grid_share_their_times():
    """Both name one grid, so r itself can be drawn, to the last bit."""
    t, r = Leaps(Karras(), 4, Even(8)).draw(EDM(), MIDDLES, NOW)
    s = OnGrid(Karras(), Even(8)).draw(t, r, MIDDLES.flip(0), NOW)
    assert (s <= r).all()
    assert (s == r).any()
    assert set(s.tolist()) <= {0.0, *Karras().points(8).tolist()}


@pytest.mark.parametrize("share", [0.25, 1.0])
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_beneath_is_any_part_of_the_way_for_a_share_of_the_items(share: float, power: float):
    """The mean of u^p is 1 / (p + 1), its median 2^-p."""
    r = torch.full_like(MIDDLES, 3.0)
    s = Beneath(power, share).draw(r + 1, r, MIDDLES, NOW)
    below = s < r
    assert below.double().mean().item() == pytest.approx(share, abs=1e-4)
    assert s[below].mean().item() == pytest.approx(3 / (power + 1), abs=1e-3)
    assert s[below].median().item() == pytest.approx(3 / 2**power, abs=1e-3)
    assert (s[~below] == 3).all()


def test_opposite_is_as_far_below_and_not_below_0():
    assert Opposite().draw(column(3.0, 3.0), column(2.0, 1.0), column(0.5, 0.5), NOW).tolist() == [1, 0]


@pytest.mark.parametrize("segments", [1, 3, 12, 29, 142])
@pytest.mark.parametrize("schedule", [Karras(), Trailing(80.0, 7.0), Trailing(1.0)], ids=str)
def test_a_finer_grid_whose_times_are_rounded_differently_keeps_to_the_segments(schedule, segments: int):
    """Every time on an edge belongs to the segment below, and r may be the very start of the segment."""
    fine, edges = grid(schedule, 10 * segments), grid(schedule, segments)
    edges[-1], wanted = 0, torch.arange(10 * segments) // 10 + 1
    s = Segments(schedule, Even(segments + 1)).draw(fine[:-1], fine[1:], fine[1:], NOW)
    assert torch.allclose(s, edges[wanted], rtol=1e-12)
    u = torch.full((segments + 1,), 1 - 1e-12, dtype=torch.float64)
    own = OnGrid(schedule, Even(segments + 1)).draw(fine[::10] + 1, fine[::10].clone(), u, NOW)
    assert torch.allclose(own, edges, rtol=1e-12)


@pytest.mark.parametrize("u", [1e-12, 1 - 1e-12])
@pytest.mark.parametrize(
    "endpoint", [OnGrid(Karras(), Even(8)), OnGrid(Karras(), Even(8), 0.5), Beneath(2.0), EDGES], ids=str
)
def test_no_endpoint_lies_above_r(endpoint, u: float):
    r = column(0.0, 0.002, 0.5, 80.0)
    s = endpoint.draw(r + 0.1, r, column(u).expand(4), NOW)
    assert ((s >= 0) & (s <= r)).all()
