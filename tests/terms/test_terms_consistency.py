"""Consistency on Gaussians: where the gradient vanishes, and where a 1-D linear student lands."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from fewstep.batch import Batch
from fewstep.endpoints import Beneath, OnGrid, Origin, Segments
from fewstep.pairs import Cells, Ratio
from fewstep.points import Even
from fewstep.process import EDM, over
from fewstep.scalars import Progress
from fewstep.solvers import DDIM, Euler, Heun, Stochastic
from fewstep.terms import (
    L1,
    L2,
    Averaged,
    Bridge,
    Cauchy,
    Consistency,
    Current,
    DataBridge,
    Gap,
    Huber,
    L2Norm,
    PseudoHuber,
    TeacherBridge,
)
from fewstep.testing import PATHS, Gaussian, Given, Jump, Mixture, normal_points
from fewstep.times import Explicit, Karras, Uniform
from fewstep.training.rollouts import OneStep
from fewstep.turn import Turn

STD, LOW, HIGH = 0.5, 0.002, 80.0


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# --- the discretisation table: f_i(x) = a_i x on a grid, an exact teacher, any symmetric metric


class Table:
    """A linear student with one slope per grid time; the one at the lowest time is 1."""

    def __init__(self, grid: Tensor, slopes: Tensor) -> None:
        self.process, self.slopes = EDM(), slopes
        rising = grid.flip(0)
        self.edges = (rising[1:] * rising[:-1]).sqrt()  # between the grid times

    def __call__(self, x, t, c=None, s=None):
        index = len(self.slopes) - 1 - torch.searchsorted(self.edges, t)
        return self.slopes[index][:, None] * x


def costs(term: Consistency, grid: Tensor, slopes: Tensor) -> Tensor:
    """Return the expected cost of each cell of the grid, by quadrature.

    The points (x0, z) of each cell are turned so that x_t lies along the first coordinate: then independence, and
    with it the minimiser of any symmetric metric, is exact on the points too.
    """
    points, weights = normal_points(4, dims=2)
    angle = torch.atan(grid[:-1] / STD)[:, None]
    x0 = STD * (angle.cos() * points[:, 0] - angle.sin() * points[:, 1])
    z = angle.sin() * points[:, 0] + angle.cos() * points[:, 1]
    cells = len(grid) - 1
    u = ((torch.arange(cells, dtype=torch.float64) + 0.5) / cells)[:, None].expand_as(x0).flatten()
    views = {"student": Table(grid, slopes), "teacher": Gaussian(EDM(), column(0.0), STD)}
    draws = Given([z.reshape(-1, 1), *(column(0.0) for _ in range(3))], [u, column(0.5)])  # no noise on the bridge
    cost = term(Turn("student", views, Batch(x0.reshape(-1, 1)), draws, OneStep(HIGH)))
    return cost.reshape(cells, -1) @ weights


def gradient(term: Consistency, grid: Tensor, slopes: Tensor) -> Tensor:
    slopes = slopes.clone().requires_grad_(True)
    return torch.autograd.grad(costs(term, grid, slopes).sum(), slopes)[0][:-1]


def solved(term: Consistency, grid: Tensor) -> Tensor:
    """Return the slopes where the gradient vanishes: under L2 it is P_i a_i - Q_i a_{i+1}, so two probes tell all."""
    cells, even = len(grid) - 1, (torch.arange(len(grid)) % 2 == 0).double()
    first, second = gradient(term, grid, even), gradient(term, grid, 1 - even)
    own, other = torch.where(even[:-1] > 0, first, second), torch.where(even[:-1] > 0, second, first)
    slopes = torch.ones(len(grid), dtype=torch.float64)
    for i in reversed(range(cells)):
        slopes[i] = -other[i] / own[i] * slopes[i + 1]
    return slopes


def on(points: int, bridge: Bridge, high: float = HIGH) -> tuple[Consistency, Tensor]:
    schedule = Karras(LOW, high)
    return Consistency(Cells(schedule, Even(points)), bridge=bridge), schedule.points(points)


def exact(t: float) -> float:
    return STD / math.sqrt(STD**2 + t**2)


EULER = {18: 0.8461, 40: 0.9297, 151: 0.9812, 1281: 0.9978}
HEUN = {18: 1.0553, 40: 1.0098, 151: 1.0006, 1281: 1.0000}
BRIDGES = {
    "data": (DataBridge(), EULER),
    "ddim": (TeacherBridge(solver=DDIM()), EULER),
    "euler": (TeacherBridge(solver=Euler()), EULER),
    "heun": (TeacherBridge(solver=Heun()), HEUN),
}


@pytest.mark.parametrize("points", EULER)
@pytest.mark.parametrize("name", BRIDGES)
def test_linear_student_lands_on_the_discretisation_table(name: str, points: int):
    bridge, table = BRIDGES[name]
    slopes = solved(*on(points, bridge))
    assert (slopes[0] / exact(HIGH)).item() == pytest.approx(table[points], abs=5e-5)


@pytest.mark.parametrize("points", [18, 40])
def test_euler_row_is_the_product_of_the_card(points: int):
    """a_N = prod (s_d^2 + t_i t_{i+1}) / (s_d^2 + t_{i+1}^2)."""
    term, grid = on(points, DataBridge())
    product = ((STD**2 + grid[1:] * grid[:-1]) / (STD**2 + grid[:-1] ** 2)).flip(0).cumprod(0).flip(0)
    assert torch.allclose(solved(term, grid)[:-1], product, rtol=1e-10)


METRICS = [L2(), L1(), L2Norm(), PseudoHuber(), PseudoHuber(1.0), Huber(), Cauchy(1.0)]


@pytest.mark.parametrize("metric", METRICS, ids=str)
@pytest.mark.parametrize("weight", [Gap(), Gap(0.5)], ids=str)
def test_metric_and_weight_do_not_move_the_linear_student(metric, weight):
    term, grid = on(18, DataBridge())
    slopes, term = solved(term, grid), replace(term, metric=metric, weight=weight)
    uneven = 1 + 0.1 * (-1.0) ** torch.arange(18)
    assert (gradient(term, grid, slopes).abs() < 1e-5 * gradient(term, grid, uneven * slopes).abs()).all()


@pytest.mark.parametrize("metric", METRICS, ids=str)
@pytest.mark.parametrize("name", ["ddim", "euler", "heun"])
def test_teachers_bridge_leaves_the_linear_student_no_cost(name: str, metric):
    term, grid = on(18, BRIDGES[name][0])
    slopes, term = solved(term, grid), replace(term, metric=metric)
    assert costs(term, grid, slopes).max() < 2e-8
    assert costs(term, grid, 1.1 * slopes * (1 - 0.1 * (torch.arange(18) % 2))).min() > 2e-8


@dataclass(frozen=True)
class Independent(Bridge):
    """The mistake: fresh noise at r."""

    def __call__(self, turn, noised, r):
        return turn.process.noise(noised.x0, 0 * noised.z, r)  # the mean over fresh noise


def test_independent_noise_would_collapse_the_linear_student():
    """Every interval multiplies the slope by that of the denoiser: prod s_d^2 / (s_d^2 + t^2)."""
    term, grid = on(18, Independent())
    assert solved(term, grid)[0].item() == pytest.approx((STD**2 / (STD**2 + grid[:-1] ** 2)).prod().item(), rel=1e-9)
    assert solved(term, grid)[0] < 1e-9 * exact(HIGH)


@pytest.mark.parametrize(("eta", "slope"), [(0.0, 0.0995), (0.3, 0.0808), (0.6, 0.0434), (1.0, 0.0099)])
def test_stochastic_bridge_slides_towards_the_posterior_mean(eta: float, slope: float):
    """SCott: fine cells land on (s_d / v_t)^(1 + eta^2); the noise of the bridge has mean 0 and moves nothing."""
    term, grid = on(2001, TeacherBridge(solver=Stochastic(eta)), high=5.0)
    assert exact(5.0) ** (1 + eta**2) == pytest.approx(slope, abs=5e-5)
    assert solved(term, grid)[0].item() == pytest.approx(slope, rel=0.02)


@pytest.mark.parametrize("substeps", [2, 3])
def test_stochastic_bridge_of_substeps_slides_as_far(substeps: int):
    """Fresh noise in each of them: the same slope as that many cells with one step, (s_d / v_t)^(1 + eta^2)."""
    term, grid = on(601, TeacherBridge(solver=Stochastic(0.6), substeps=substeps), high=5.0)
    assert solved(term, grid)[0].item() == pytest.approx(exact(5.0) ** 1.36, rel=0.05)
    still, _ = on(18, TeacherBridge(solver=Stochastic(0.0), substeps=substeps))
    plain, grid = on(18, TeacherBridge(solver=DDIM(), substeps=substeps))
    assert torch.equal(solved(still, grid), solved(plain, grid))


def test_more_substeps_of_the_teacher_come_closer_to_the_flow():
    ratios = [solved(*on(18, TeacherBridge(solver=DDIM(), substeps=n)))[0].item() / exact(HIGH) for n in (1, 4, 16)]
    assert ratios[0] == pytest.approx(0.8461, abs=5e-5)
    assert ratios == sorted(ratios)
    assert ratios[-1] > 0.985


# --- the gradient at the exact flow map


@dataclass(frozen=True)
class FlowBridge(Bridge):
    """The exact flow of a world."""

    world: Gaussian | Mixture

    def __call__(self, turn, noised, r):
        return self.world.flow(noised.x, noised.t, r)


class Bent:
    """The exact flow map plus ``theta`` times a wave."""

    def __init__(self, world, theta: Tensor) -> None:
        self.jump, self.theta, self.process = Jump(world), theta, world.process

    def __call__(self, x, t, c=None, s=None):
        return self.jump(x, t, c, s) + self.theta * torch.sin(3 * x)


def worlds(path) -> dict[str, Gaussian | Mixture]:
    means = torch.tensor([[-1.0, 0.3], [0.8, 0.5]], dtype=torch.float64)
    mixture = Mixture(path, column(0.3, 0.7), means, column(0.4, 0.6), substeps=64)
    return {"gaussian": Gaussian(path, means[0], 0.6), "mixture": mixture}


def bent_turn(world, theta: Tensor, bridge_draws: int = 0) -> Turn:
    generator = torch.Generator().manual_seed(0)
    x0, z = torch.randn(2, 24, 2, generator=generator, dtype=torch.float64)
    u = torch.rand(2, 24, generator=generator, dtype=torch.float64)
    views = {"student": Bent(world, theta), "student.target": Bent(world, theta), "teacher": world}
    return Turn("student", views, Batch(x0), Given([z], list(u)), OneStep(world.process.t_max), Progress(4, 8))


ENDS = {
    "origin": lambda low, high: Origin(),
    "below": lambda low, high: Beneath(),
    "on grid": lambda low, high: OnGrid(Uniform(low, high), Even(9)),
    "segment": lambda low, high: Segments(Explicit((high, 0.5 * high, 0.2 * high, low)), Even(4)),
}


def aimed(target: str) -> Averaged | Current:
    return Averaged(target) if target else Current()


ROWS = [
    *((name, "gaussian", end, "") for name in ("edm", "linear shifted", "vp cosine") for end in ENDS),
    ("edm", "gaussian", "on grid", "target"),
    ("edm", "mixture", "below", ""),
    ("trigflow", "mixture", "segment", ""),
]


@pytest.mark.parametrize(("name", "kind", "end", "target"), ROWS)
def test_gradient_vanishes_at_the_exact_map_and_only_there(name: str, kind: str, end: str, target: str):
    path = PATHS[name]
    low, high = (0.02, 8.0) if name == "edm" else (0.05 * path.t_max, 0.9 * path.t_max)
    world = worlds(path)[kind]
    pairs, bridge = Cells(Uniform(low, high), Even(9)), FlowBridge(world)
    term = Consistency(pairs, ENDS[end](low, high), bridge=bridge, target=aimed(target))
    slope, cost = slope_at(term, world, 0.0)
    assert cost < 1e-10
    assert abs(slope) < 1e-5
    bent_slope, bent_cost = slope_at(term, world, 0.1)
    assert bent_cost > 1e-5
    assert bent_slope > 1e-4


def slope_at(term: Consistency, world, theta: float) -> tuple[float, float]:
    bend = column(theta)[0].requires_grad_(True)
    cost = term(bent_turn(world, bend)).mean()
    return torch.autograd.grad(cost, bend)[0].item(), cost.item()


@pytest.mark.parametrize(("solver", "order"), [(DDIM(), 4), (Euler(), 4), (Heun(), 6)], ids=str)
def test_cost_of_the_exact_map_falls_with_the_gap(solver, order: int):
    """With the exact map the cost is that of the bridge: gap^4 for one first-order step, gap^6 for Heun."""
    world, costs = worlds(EDM())["gaussian"], []
    for gap in (0.1, 0.05):
        pairs = Cells(Explicit((1.0, 1.0 - gap)), Even(2))
        term = Consistency(pairs, bridge=TeacherBridge(solver=solver))
        costs.append(term(bent_turn(world, column(0.0)[0])).mean().item())
    assert math.log2(costs[0] / costs[1]) == pytest.approx(order, abs=0.5)


def test_data_bridge_is_the_ddim_step_of_the_ideal_denoiser_on_average():
    """E[x_r | x_t]: along the direction that leaves x_t as it is, the points (x0, z) average out."""
    points, weights = normal_points(6)
    for name in ("edm", "linear", "vp scaled"):
        path = PATHS[name]
        world = Gaussian(path, column(0.0), 0.6)
        t, r = path.t_max * column(0.7), path.t_max * column(0.4)
        u, w = torch.full((6,), 0.8, dtype=torch.float64), points[:, 0]
        angle = torch.atan2(path.sigma(t), path.alpha(t) * 0.6)
        x0, z = 0.6 * (angle.cos() * u - angle.sin() * w), angle.sin() * u + angle.cos() * w
        x_t = path.noise(x0[:, None], z[:, None], t.expand(6))
        assert torch.allclose(x_t, x_t[:1].expand(6, 1))
        average = weights @ path.noise(x0[:, None], z[:, None], r.expand(6))
        assert average.item() == pytest.approx(DDIM()(world, x_t[:1], torch.stack([t[0], r[0]])).item(), rel=1e-10)


def test_bridge_ends_at_r_to_the_last_bit():
    seen = []

    class Watching:
        process = EDM()

        def __call__(self, x, t, c=None, s=None):
            seen.append(t)
            return x

    for substeps in (1, 3):
        turn = bent_turn(worlds(EDM())["gaussian"], column(0.0)[0])
        turn = replace(turn, views={**turn.views, "teacher": Watching()})
        Consistency(Cells(Karras(), Even(18)), bridge=TeacherBridge(solver=Heun(), substeps=substeps))(turn)
    grid = set(Karras().points(18).tolist())
    assert set(seen[1].tolist()) <= grid
    assert set(seen[-1].tolist()) <= grid
    assert len(seen) == 2 + 6


def test_first_stage_of_ect_below_ln_7_is_denoising():
    """r = 0 there, so the target is the data: cost ||f - y|| / t with the norm and the weight of ECT."""
    world = worlds(EDM())["gaussian"]
    term = Consistency(Ratio(stages=8), metric=L2Norm(), weight=Gap())
    turn = replace(bent_turn(world, column(0.1)[0]), progress=Progress(0, 8))
    u = turn.draws._uniforms[0]
    t = term.pairs.law.times(EDM(), u)
    low, z = t <= math.log(7), turn.draws._normals[0]
    x0 = turn.batch.x0
    estimate = turn.denoiser()(EDM().noise(x0, z, t), t, None, torch.zeros_like(t))
    wanted = (estimate - x0).norm(dim=1) / t
    assert low.sum() > 10
    assert torch.allclose(term(turn)[low], wanted[low], rtol=1e-9)


def test_target_is_the_average_that_is_named():
    world, bend = worlds(EDM())["gaussian"], column(0.1)[0]
    pairs = Cells(Karras(0.02, 8.0), Even(9))
    own, target = (bent_turn(world, bend) for _ in range(2))
    target = replace(target, views={**target.views, "student.target": Bent(world, column(0.0)[0])})
    costs = [Consistency(pairs, target=aimed(name))(turn) for name, turn in (("", own), ("target", target))]
    assert not torch.allclose(*costs)
    path, turn = EDM(), bent_turn(world, bend)
    t, r = pairs.draw(path, turn.draws._uniforms[0], Progress(4, 8))
    x0, z = turn.batch.x0, turn.draws._normals[0]
    left = turn.denoiser()(path.noise(x0, z, t), t, None, 0 * t)
    right = Jump(world)(path.noise(x0, z, r), r, None, 0 * r)
    assert torch.allclose(costs[1], (left - right).square().mean(1), rtol=1e-12)


def test_sides_are_carried_to_the_same_end():
    """With the endpoint below r both sides are x at s: over(keep) of the estimate alone would differ."""
    world = worlds(EDM())["gaussian"]
    term = Consistency(Cells(Karras(0.02, 8.0), Even(9)), Beneath())
    turn = bent_turn(world, column(0.1)[0])
    path, (u, v) = EDM(), turn.draws._uniforms
    t, r = term.pairs.draw(path, u, turn.progress)
    s, z, x0 = v * r, turn.draws._normals[0], turn.batch.x0

    def to_s(x, t):
        return over(s / t, x) * x + over(1 - s / t, x) * turn.denoiser()(x, t, None, s)

    wanted = (to_s(x0 + over(t, z) * z, t) - to_s(x0 + over(r, z) * z, r)).square().mean(1)
    assert torch.allclose(term(turn), wanted, rtol=1e-10)
