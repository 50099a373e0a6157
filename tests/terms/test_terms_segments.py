"""Consistency within segments and towards any end: multistep consistency, trajectories, truncation."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from fewstep.batch import Batch
from fewstep.endpoints import OnGrid, Segments
from fewstep.flowmap import FlowMap
from fewstep.pairs import Cells, Leaps, Moment, Ratio
from fewstep.points import Even, Exponential, Points
from fewstep.process import EDM, Process, over
from fewstep.scalars import Progress
from fewstep.solvers import DDIM, Heun
from fewstep.terms import (
    AtData,
    Averaged,
    Consistency,
    DataBridge,
    Estimate,
    Gap,
    L2Norm,
    PseudoHuber,
    SNRPlusOne,
    Split,
    TeacherBridge,
)
from fewstep.testing import PATHS, Counted, Gaussian, Given, Jump, normal_points
from fewstep.times import Karras, LogStudentT, Schedule, Trailing, grid
from fewstep.training import OneStep
from fewstep.turn import Noised, Turn
from fewstep.vp import VP

STD = 0.5


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# --- the space of multistep consistency


@pytest.mark.parametrize("name", PATHS)
def test_estimate_is_the_inverse_of_the_ddim_step(name: str):
    path = PATHS[name]
    t = path.t_max * column(0.9, 0.5, 0.2, 0.7)
    x, x0 = torch.randn(2, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turn = Turn("student", {"student": Gaussian(path, column(0.0, 0.0), STD)}, Batch(x0), Given(), OneStep(1.0))
    for share in (0.8, 0.3, 0.0):
        s = share * t
        there = path.step(x, x0, t, s)
        assert torch.allclose(Estimate()(turn, there, s, Noised(x0, t, x, x)), x0, rtol=1e-9, atol=1e-10)
    assert torch.equal(Estimate()(turn, x, 0 * t), x)  # where no state came before, at time 0, it is the identity


# --- the chain of multistep consistency: f_i(x) = a_i x on a grid, an exact teacher


class Table:
    """A linear student with one slope per grid time."""

    def __init__(self, path: Process, times: Tensor, slopes: Tensor) -> None:
        self.process, self.slopes, rising = path, slopes, times.flip(0)
        self.edges = (rising[1:] + rising[:-1]) / 2

    def __call__(self, x, t, c=None, s=None):
        index = len(self.slopes) - 1 - torch.searchsorted(self.edges, t.contiguous())
        return self.slopes[index][:, None] * x


def gradient(term: Consistency, path: Process, times: Tensor, slopes: Tensor) -> Tensor:
    """Return the derivative of the expected cost of each cell by the slope of its upper end, by quadrature."""
    points, weights = normal_points(3, dims=2)
    cells, slopes = len(times) - 1, slopes.clone().requires_grad_(True)
    angle = torch.atan2(path.sigma(times[:-1]), path.alpha(times[:-1]) * STD)[:, None]
    x0 = STD * (angle.cos() * points[:, 0] - angle.sin() * points[:, 1])
    z = angle.sin() * points[:, 0] + angle.cos() * points[:, 1]
    u = ((torch.arange(cells, dtype=torch.float64) + 0.5) / cells)[:, None].expand_as(x0).flatten()
    views = {"student": Table(path, times, slopes), "teacher": Gaussian(path, column(0.0), STD)}
    turn = Turn("student", views, Batch(x0.reshape(-1, 1)), Given([z.reshape(-1, 1)], [u, u]), OneStep(1.0))
    cost = (term(turn).reshape(cells, -1) @ weights).sum()
    return torch.autograd.grad(cost, slopes)[0][:-1]


def solved(term: Consistency, path: Process, times: Tensor) -> Tensor:
    """Return the slopes at which the gradient vanishes: it is P_i a_i - Q_i a_{i+1} - R_i, so three probes tell all."""
    cells = len(times) - 1
    even = (torch.arange(cells + 1) % 2 == 0).double()
    rest, first, second = (gradient(term, path, times, a) for a in (0 * even, even, 1 - even))
    own, other = torch.where(even[:-1] > 0, first, second) - rest, torch.where(even[:-1] > 0, second, first) - rest
    slopes = torch.zeros(cells + 1, dtype=torch.float64)
    for i in reversed(range(cells)):
        slopes[i] = -(other[i] * slopes[i + 1] + rest[i]) / own[i]
    return slopes


def chained(path: Process, times: Tensor, slopes: Tensor, segments: int) -> float:
    """Return the slope of the sampler: one DDIM step of the student per segment."""
    index = torch.linspace(0, len(times) - 1, segments + 1).long()
    x = torch.ones(1, 1, dtype=torch.float64)
    for i, j in pairwise(index):
        x = path.step(x, slopes[i] * x, times[i : i + 1], times[j : j + 1])
    return x.item()


def cosine(steps: int) -> tuple[VP, Schedule]:
    """Return the cosine schedule, alpha = cos(pi t / 2), from its last time but for a hair to 0."""
    place = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    table = (place * math.pi / 2).cos().square()
    table[-1] = 0.0
    return VP(tuple(table.tolist())), Trailing(float(steps))


@pytest.mark.parametrize(("steps", "slope"), [(64, 0.48809), (1280, 0.49940)])
@pytest.mark.parametrize("segments", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("bridge", [TeacherBridge(solver=DDIM()), DataBridge()], ids=["teacher", "data"])
def test_chain_of_the_segments_is_the_teachers_product_for_every_number_of_them(
    steps: int, slope: float, segments: int, bridge
):
    """Linear student, cosine schedule, deviation 0.5: 0.48809 for T = 64, 0.49940 for 1280; the flow has 0.5."""
    path, schedule = cosine(steps)
    pairs, ends = Cells(schedule, Even(steps + 1)), Segments(schedule, Even(segments + 1))
    term = Consistency(pairs, ends, bridge=bridge, space=Estimate())
    times = grid(schedule, steps)
    assert chained(path, times, solved(term, path, times), segments) == pytest.approx(slope, abs=5e-6)


def test_weight_norm_and_curriculum_do_not_move_the_chain():
    path, schedule = cosine(64)
    term = Consistency(
        Cells(schedule, Exponential(64, 1280, 4)),
        Segments(schedule, Even(5)),
        bridge=TeacherBridge(solver=DDIM()),
        space=Estimate(),
        weight=SNRPlusOne(),
    )
    times = grid(schedule, 64)
    slopes = solved(term, path, times)
    assert chained(path, times, slopes, 4) == pytest.approx(0.48809, abs=5e-6)
    views = {"student": Table(path, times, slopes), "teacher": Gaussian(path, column(0.0), STD)}
    for metric in (L2Norm(), PseudoHuber(1e-4)):
        x0, z = torch.randn(2, 40, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        draws = Given([z], [torch.rand(40).double(), column(0.5)])
        cost = replace(term, metric=metric)(Turn("student", views, Batch(STD * x0), draws, OneStep(1.0)))
        assert cost.max() < 1e-4 * SNRPlusOne()(path, times[-2:-1], times[-1:]).item() ** 0.5


def test_as_many_segments_as_cells_are_plain_denoising():
    """M = T: s = r, so that the target is x0 itself."""
    path, schedule = cosine(8)
    term = Consistency(Cells(schedule, Even(9)), Segments(schedule, Even(9)), space=Estimate(), weight=SNRPlusOne())
    x0, z = torch.randn(2, 16, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u = (torch.arange(16, dtype=torch.float64) + 0.5) / 16
    world = Gaussian(path, column(0.3), STD)
    t, _ = term.pairs.draw(path, u, Progress())
    wanted = SNRPlusOne()(path, t, t) * (world(path.noise(x0, z, t), t) - x0)[:, 0] ** 2
    cost = term(Turn("student", {"student": world}, Batch(x0), Given([z], [u, u]), OneStep(1.0)))
    assert torch.allclose(cost, wanted, rtol=1e-9)


# --- trajectories to any end


@pytest.mark.parametrize(("s", "slope"), [(3 * (1 - 1e-7), 0.027), (1.0, 0.051), (0.1, 0.139), (0.0, 0.164)])
def test_estimate_that_a_jump_needs_depends_on_its_end(s: float, slope: float):
    """(v_s / v_t - s / t) / (1 - s / t) at t = 3 and deviation 0.5: no network without s has them all."""
    world, x = Gaussian(EDM(), column(0.0), STD), torch.ones(1, 1, dtype=torch.float64)
    assert Jump(world)(x, column(3.0), None, column(s)).item() == pytest.approx(slope, abs=5e-4)


@pytest.mark.parametrize("name", PATHS)
def test_a_jump_leaves_with_the_velocity_of_the_teacher(name: str):
    """dG/ds at s = t: the student that is exact everywhere knows the score."""
    path = PATHS[name]
    world = Gaussian(path, column(0.7, -0.2), 0.4)
    t = path.t_max * column(0.1375, 0.4215, 0.7715)  # amid the cells of a table
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    h = 1e-4 * path.t_max
    student = FlowMap(Jump(world))
    slope = (3 * x - 4 * student(x, t, t - h) + student(x, t, t - 2 * h)) / (2 * h)  # only s <= t
    assert torch.allclose(path.t_max * slope, path.t_max * path.velocity(x, world(x, t), t), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", PATHS)
def test_exponential_integrator_form_is_the_ddim_step(name: str):
    """TCD: (sigma_s / sigma_t) x - alpha_s (e^-h - 1) D with h = lambda_s - lambda_t."""
    path = PATHS[name]
    t = path.t_max * column(0.95, 0.5, 0.2)
    x, x0 = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for share in (0.9, 0.4):
        s = share * t
        h = (path.logsnr(s) - path.logsnr(t)) / 2
        keep = path.sigma(s) / path.sigma(t)
        wanted = over(keep, x) * x - over(path.alpha(s) * torch.expm1(-h), x) * x0
        assert torch.allclose(path.step(x, x0, t, s), wanted, rtol=1e-12, atol=1e-12)


class Bent:
    """The exact flow map plus ``theta`` times a wave."""

    def __init__(self, world, theta: Tensor) -> None:
        self.jump, self.theta, self.process = Jump(world), theta, world.process

    def __call__(self, x, t, c=None, s=None):
        return self.jump(x, t, c, s) + self.theta * torch.sin(3 * x)


def trajectory(space, theta: float, outer: float = 0.0, points: Points = Even(9)) -> tuple[float, float]:  # noqa: B008
    """Return the gradient of CTM's cost of a bent student, and the cost; the outer jump is bent by itself."""
    path, schedule = EDM(), Karras(0.02, 8.0)
    world = Gaussian(path, column(0.4, -0.3), 0.6)
    bend = column(theta)[0].requires_grad_(True)
    views = {"student": Bent(world, bend), "student.ema": Bent(world, column(outer)[0]), "teacher": world}
    x0, z = torch.randn(2, 24, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u = torch.rand(2, 24, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    turn = Turn("student", views, Batch(x0), Given([z], list(u)), OneStep(8.0))
    bridge = TeacherBridge(solver=Heun(), substeps=64)
    cost = Consistency(Leaps(schedule, 4, points), OnGrid(schedule, points), bridge=bridge, space=space)(turn).mean()
    return torch.autograd.grad(cost, bend)[0].item(), cost.item()


@pytest.mark.parametrize("outer", [0.0, 0.2])
def test_gradient_at_data_vanishes_at_the_exact_map_and_only_there(outer: float):
    """Whatever the outer jump, which carries both sides on to 0 with weights that do not learn."""
    slope, cost = trajectory(AtData("ema"), 0.0, outer)
    assert abs(slope) < 1e-5
    assert cost < 1e-6
    slope, cost = trajectory(AtData("ema"), 0.1, outer)
    assert slope > 1e-3
    assert cost > 1e-4


def test_gradient_reaches_the_learner_through_the_outer_jump():
    """d cost / d theta is that of the outer jump at the student's end, not of the end itself."""
    straight, through = trajectory(AtData("ema"), 0.1), trajectory(AtData("ema"), 0.1, 0.5)
    assert abs(straight[0] - through[0]) > 1e-2 * abs(straight[0])
    path, s = EDM(), column(1.0)
    world = Gaussian(path, column(0.4), 0.6)
    x = column(0.7)[:, None].requires_grad_(True)
    views = {"student": world, "student.ema": Jump(world)}
    turn = Turn("student", views, Batch(x.detach()), Given(), OneStep(8.0))
    gain = torch.autograd.grad(AtData("ema")(turn, x, s).sum(), x)[0].item()
    assert gain == pytest.approx(0.6 / math.hypot(0.6, 1.0))


# --- truncated consistency


class Shifted:
    """The exact map plus a constant at and above a time."""

    def __init__(self, world, shift: float, above: float) -> None:
        self.jump, self.shift, self.above, self.process = Jump(world), shift, above, world.process

    def __call__(self, x, t, c=None, s=None):
        return self.jump(x, t, c, s) + self.shift * over((t >= self.above).double(), x)


def parts(shift: float) -> tuple[Tensor, Tensor, Counted]:
    """Return the costs of the consistency part and of the boundary part on items of both kinds."""
    world, bound = Gaussian(EDM(), column(0.4, -0.3), 0.6), 1.0
    frozen = Counted(Jump(world))
    views = {"student": Shifted(world, shift, bound), "first": frozen, "teacher": world}
    bridge, target = TeacherBridge(solver=Heun(), substeps=64), Split("first", bound)
    law = LogStudentT(bound, 80.0, std=1.0)
    far = Consistency(Ratio(law, q=16.0, stages=1), bridge=bridge, target=target, weight=Gap())
    near = Consistency(Moment(bound, 0.9), bridge=bridge, target=target, weight=Gap())
    costs = []
    for term in (far, near):
        x0, z = torch.randn(2, 32, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        u = torch.rand(2, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        turn = Turn("student", views, Batch(x0), Given([z], list(u)), OneStep(8.0))
        costs.append(term(turn))
        if term is far:
            _, r = term.pairs.draw(EDM(), u[0], Progress())
            costs[0] = costs[0][r >= bound]
    return costs[0], costs[1], frozen


def test_a_constant_error_is_seen_at_the_boundary_alone():
    """TCM: f* + const on t >= t' is consistent with itself, but not with the frozen model below."""
    far, near, _ = parts(0.5)
    assert len(far) > 8
    assert far.max() < 1e-6
    assert torch.allclose(near, torch.full_like(near, 0.25 / 0.1), rtol=1e-2)


def test_exact_student_above_an_exact_frozen_one_costs_nothing():
    far, near, _ = parts(0.0)
    assert max(far.max(), near.max()) < 1e-6


def test_split_asks_the_frozen_network_below_the_time_only():
    world = Gaussian(EDM(), column(0.0), 0.6)
    views = {"student": Shifted(world, 1.0, 0.0), "first": Shifted(world, -1.0, 0.0)}
    x, r = torch.zeros(3, 1, dtype=torch.float64), column(0.5, 1.0, 2.0)
    turn = Turn("student", views, Batch(x), Given(), OneStep(8.0))
    assert Split("first", 1.0)(turn, x, r, 0 * r)[:, 0].tolist() == [-1, 1, 1]
    assert Split("first", 1.0).networks() == ("first",)


def test_average_of_the_outer_jump_and_of_the_target_are_named_apart():
    """CTM: the inner target is the current weights, the outer jump an average."""
    world = Gaussian(EDM(), column(0.4, -0.3), 0.6)
    asked = {name: Counted(Jump(world)) for name in ("student", "student.ema", "student.target")}
    x0, z = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u = torch.rand(2, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    schedule = Karras(0.02, 8.0)
    term = Consistency(Leaps(schedule, 3), OnGrid(schedule), target=Averaged("target"), space=AtData("ema"))
    term(Turn("student", asked, Batch(x0), Given([z], list(u)), OneStep(8.0)))
    assert {name: counted.calls for name, counted in asked.items()} == {
        "student": 1,
        "student.ema": 2,
        "student.target": 1,
    }
