"""Bootstrapping from noise: the signal is integrated down the teacher's path, and two steps agree with one."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from fewstep.batch import Batch
from fewstep.draws import Draws
from fewstep.flowmap import FlowMap
from fewstep.pairs import Cells, ToData
from fewstep.points import Even
from fewstep.process import Process, over
from fewstep.solvers import DDIM, Heun
from fewstep.terms import L1, Bootstrap, SignalStep
from fewstep.testing import PATHS, Counted, Gaussian, Given
from fewstep.times import Straight, Trailing, Uniform, grid
from fewstep.training import OneStep
from fewstep.turn import Turn
from fewstep.vp import VP

STD = 0.5
COSINE = VP(tuple(((torch.arange(1, 1000).double() / 1000 * math.pi / 2).cos() ** 2).tolist()))
GRID = Uniform(1.0, 999.0)


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


class Walk:
    """A student that knows one jump per grid time from the first of them: ``G(x, top, s) = slope_s x``."""

    def __init__(self, path: Process, times: Tensor, slopes: Tensor) -> None:
        self.process, self.times, self.slopes = path, times, slopes

    def __call__(self, x, t, c=None, s=None):
        index = (self.times[None] - s[:, None]).abs().argmin(1)
        keep = self.process.sigma(s) / self.process.sigma(t)
        gain = self.process.alpha(s) - self.process.alpha(t) * keep
        same = gain.abs() < 1e-12
        return over(torch.where(same, 1.0, (self.slopes[index] - keep) / torch.where(same, 1.0, gain)), x) * x


def cost_of(term: Bootstrap, student, teacher, items: int, z: Tensor | None = None) -> Tensor:
    """Return the cost of one item per cell, all from the noise 1.3."""
    u = (torch.arange(items, dtype=torch.float64) + 0.5) / items
    noise = torch.full((items, 1), 1.3, dtype=torch.float64) if z is None else z
    views, batch = {"student": student, "teacher": teacher}, Batch(torch.zeros_like(noise))
    return term(Turn("student", views, batch, Given([noise], [u]), OneStep(1.0)))


def solved(points: int, solver, weight) -> tuple[Tensor, Tensor]:
    """Return the grid and the slopes at which the gradient vanishes: it is P_i (a_{i+1} - k_i a_i)."""
    times, teacher = grid(GRID, points - 1), Gaussian(COSINE, column(0.0), STD)
    term = Bootstrap(999.0, Cells(GRID, Even(points)), solver=solver, weight=weight)
    even = (torch.arange(points) % 2 == 0).double()

    def gradient(slopes: Tensor) -> Tensor:
        slopes.requires_grad_(True)
        return torch.autograd.grad(cost_of(term, Walk(COSINE, times, slopes), teacher, points - 1).sum(), slopes)[0][1:]

    first, second, slopes = gradient(even), gradient(1 - even), torch.ones(points, dtype=torch.float64)
    for i in range(points - 1):  # at the first cell the student stands at the noise itself, whatever its slope
        own, other = (first[i], second[i]) if (i + 1) % 2 == 0 else (second[i], first[i])
        if i == 0:
            probe = gradient(torch.zeros(points, dtype=torch.float64))[0]
            slopes[1] = probe / (probe - gradient(torch.ones(points, dtype=torch.float64))[0])
        else:
            slopes[i + 1] = -other / own * slopes[i]
    return times, slopes


@pytest.mark.parametrize("weight", [SignalStep(), None], ids=["signal step", "one"])
def test_bootstrapping_with_an_exact_teacher_is_the_ddim_chain(weight):
    """VP cosine, 200 points, noise 1.3, deviation 0.5: the signal at 1e-3 is 0.64297, that of the flow 0.64796."""
    times, slopes = solved(200, DDIM(), weight or Bootstrap(1.0, ToData(Straight())).weight)
    world = Gaussian(COSINE, column(0.0), STD)
    x = 1.3 * COSINE.sigma(times[:1])[:, None]
    chain = [x]
    for t, s in pairwise(times):
        chain.append(DDIM()(world, chain[-1], torch.stack([t, s])))
    assert torch.allclose(slopes * x[0, 0], torch.cat(chain)[:, 0], rtol=1e-9)

    def signal(x: float) -> float:
        return (x - 1.3 * COSINE.sigma(times[-1:]).item()) / COSINE.alpha(times[-1:]).item()

    assert signal((slopes[-1] * x).item()) == pytest.approx(0.64297, abs=5e-6)
    exact = world.flow(x, times[:1], times[-1:]).item()
    assert signal(exact) == pytest.approx(0.64796, abs=2e-5)


def test_a_solver_of_second_order_comes_closer_to_the_flow():
    world, x = Gaussian(COSINE, column(0.0), STD), torch.ones(1, 1, dtype=torch.float64)
    gaps = []
    for solver in (DDIM(), Heun()):
        times, slopes = solved(17, solver, SignalStep())
        flow = world.flow(COSINE.sigma(times[:1])[:, None] * x, times[:1], times[-1:]).item()
        gaps.append(abs(slopes[-1].item() * COSINE.sigma(times[:1]).item() - flow))
    assert gaps[1] < 0.1 * gaps[0]


@pytest.mark.parametrize("solver", [DDIM(), Heun()], ids=str)
def test_student_that_is_the_teachers_path_costs_nothing(solver):
    times, slopes = solved(30, solver, SignalStep())
    world = Gaussian(COSINE, column(0.0), STD)
    term = Bootstrap(999.0, Cells(GRID, Even(30)), solver=solver, weight=SignalStep())
    assert cost_of(term, Walk(COSINE, times, slopes), world, 29).max() < 1e-20
    uneven = slopes * (1 + 0.01 * (-1.0) ** torch.arange(30))
    assert cost_of(term, Walk(COSINE, times, uneven), world, 29).min() > 1e-6


def test_without_the_boundary_any_multiple_would_do():
    """A linear teacher: only the first cell, at the noise itself, knows where the path begins."""
    times, slopes = solved(30, DDIM(), SignalStep())
    term = Bootstrap(999.0, Cells(GRID, Even(30)), weight=SignalStep())
    cost = cost_of(term, Walk(COSINE, times, 1.1 * slopes), Gaussian(COSINE, column(0.0), STD), 29)
    assert cost[0] > 1
    assert cost[1:].max() < 1e-20


@pytest.mark.parametrize("name", ["edm", "linear", "trigflow", "vp cosine"])
def test_first_cell_is_the_boundary(name: str):
    """t = start: the student stands at the noise, and the cost is || D_student - D_teacher ||^2 there."""
    path = PATHS[name]
    top = 0.9 * path.t_max
    student, teacher = Gaussian(path, column(0.2), 0.8), Gaussian(path, column(-0.3), 0.5)
    pairs = Cells(Uniform(0.5 * top, top), Even(2))
    z = column(-1.0, 0.4, 2.0)[:, None]
    cost = cost_of(Bootstrap(top, pairs, weight=SignalStep()), student, teacher, 3, z)
    t = column(top).expand(3)
    x = path.sigma(t)[:, None] * z
    assert torch.allclose(cost, (student(x, t) - teacher(x, t))[:, 0].square(), rtol=1e-8)


class Straightened:
    """The flow of Gaussian data after one reflow, ``x0 = mean + std z`` along straight lines, on any process."""

    def __init__(self, process: Process, mean: float, std: float) -> None:
        self.process, self.mean, self.std = process, mean, std

    def __call__(self, x, t, c=None, s=None):
        alpha, sigma = over(self.process.alpha(t), x), over(self.process.sigma(t), x)
        return self.mean + self.std * (x - alpha * self.mean) / (alpha * self.std + sigma)


@pytest.mark.parametrize("name", ["linear", "linear shifted", "edm"])
@pytest.mark.parametrize("metric", [None, L1()], ids=["l2", "l1"])
def test_two_steps_of_a_straight_flow_are_one(name: str, metric):
    """SlimFlow: L_2step = 0 on the exact 2-RF for every r, and not on a curved flow."""
    path = PATHS[name]
    pairs = ToData(Straight(0.2, 0.8))
    more = {} if metric is None else {"metric": metric}
    term = Bootstrap(20.0 if name == "edm" else 1.0, pairs, **more)
    z = torch.linspace(-2, 2, 21).double()[:, None]
    straight, curved = Straightened(path, 0.4, STD), Gaussian(path, column(0.4), STD)
    assert cost_of(term, straight, straight, 21, z).max() < 1e-14
    assert cost_of(term, curved, curved, 21, z).mean() > 1e-3


def test_two_step_target_is_the_published_one():
    """z - (1 - r) u1 - r v_teacher(x_r, r) with the student's own u1, without a graph."""
    path, r = PATHS["linear"], column(0.2, 0.5, 0.8)
    student, teacher = Gaussian(path, column(0.1), 0.9), Gaussian(path, column(0.4), STD)
    z = column(-1.0, 0.4, 2.0)[:, None]
    term = Bootstrap(1.0, ToData(Straight(0.0, 1.0)))
    turn = Turn("student", {"student": student, "teacher": teacher}, Batch(z), Given([z], [r]), OneStep(1.0))
    one = torch.ones(3, dtype=torch.float64)
    u1 = path.velocity(z, student(z, one), one)
    x_r = z - (1 - r)[:, None] * u1
    target = z - (1 - r)[:, None] * u1 - r[:, None] * path.velocity(x_r, teacher(x_r, r), r)
    assert torch.allclose(term(turn), (z - u1 - target)[:, 0].square(), rtol=1e-10)


def test_no_data_are_looked_at():
    world, term = Gaussian(PATHS["edm"], column(0.4), STD), Bootstrap(20.0, ToData(Straight(0.2, 0.8)))
    views, costs = {"student": world, "teacher": world}, []
    for value in (0.0, 100.0):
        x0 = torch.full((5, 1), value, dtype=torch.float64)
        costs.append(term(Turn("student", views, Batch(x0), Draws(3, x0.device), OneStep(1.0))))
    assert torch.equal(*costs)


def test_teacher_is_asked_where_the_student_went():
    teacher = Counted(Gaussian(PATHS["edm"], column(0.4), STD))
    student = Gaussian(PATHS["edm"], column(0.1), 0.9)
    z = column(-1.0, 0.4)[:, None]
    cost_of(Bootstrap(20.0, Cells(Trailing(20.0, 3.0), Even(3))), student, teacher, 2, z)
    x, t, _, _ = teacher.asked[0]
    assert torch.equal(t, grid(Trailing(20.0, 3.0), 2)[:2])
    assert torch.equal(x, FlowMap(student)(20 * z, column(20.0, 20.0), t))
