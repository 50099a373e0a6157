"""Straightening: rectified flow, reflow, SlimFlow's annealing, and progressive halving, on Gaussians."""

from itertools import pairwise
from math import prod

import pytest
import torch
from torch import Tensor

from fewstep.batch import Batch
from fewstep.couplings import Annealed, Independent, Stored
from fewstep.denoiser import Moved
from fewstep.draws import Draws
from fewstep.endpoints import Segments
from fewstep.errors import RecipeError
from fewstep.flowmap import FlowMap
from fewstep.pairs import Midpoints
from fewstep.points import Halving
from fewstep.process import EDM, Linear, Process, over
from fewstep.sampling import few_step
from fewstep.scalars import Piecewise, Progress, Rounds
from fewstep.solvers import DDIM
from fewstep.terms import Averaged, Consistency, Denoise, Estimate, JumpBridge, TruncatedSNR, VelocityWeight
from fewstep.testing import PATHS, Gaussian, Given, normal_points
from fewstep.times import Along, Rectified, Schedule, Trailing, Uniform, grid
from fewstep.training import Ema, OneStep
from fewstep.training.average import Average
from fewstep.turn import Noised, Turn

MEAN, STD = 0.4, 0.5


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def spread(student, times: Tensor) -> tuple[float, float]:
    """Return mean and deviation at the end of a deterministic chain from noise, which is linear in the noise."""
    z = column(0.0, 1.0)[:, None] * student.process.sigma(times[:1])
    ends = few_step(FlowMap(student), z, times, gamma=0.0)[:, 0].tolist()
    return ends[0], ends[1] - ends[0]


@pytest.mark.parametrize(("steps", "std"), [(1, 0.0), (2, 0.2), (4, 0.341), (8, 0.415)])
def test_euler_steps_of_the_curved_flow_lose_spread(steps: int, std: float):
    """InstaFlow's card: one step of the exact 1-RF ends on the mean, and 2, 4, 8 on 0.2, 0.341, 0.415 of 0.5."""
    mean, found = spread(Gaussian(Linear(), column(MEAN), STD), Trailing(1.0).steps(steps))
    assert found == pytest.approx(std, abs=5e-4)
    if steps == 1:
        assert mean == pytest.approx(MEAN)


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_ddim_on_the_clock_of_the_noise_level_is_euler_on_that_of_rectified_flow(steps: int):
    """At matched signal-to-noise ratios, where x is only scaled; the grid ``rectified`` has the even times."""
    high = 20.0
    top = high / (1 + high)
    flow, levels = Gaussian(Linear(), column(MEAN), STD), Rectified(high).steps(steps)
    assert torch.allclose(levels / (1 + levels), torch.linspace(top, 0, steps + 1).double(), rtol=1e-6)
    z = torch.linspace(-2, 2, 5).double()[:, None]
    ours = few_step(FlowMap(Gaussian(EDM(), column(MEAN), STD)), z * (1 + high), levels, gamma=0.0)
    x, times = z, torch.linspace(top, 0, steps + 1).double()
    for t, s in pairwise(times):
        x = x + (s - t) * flow.process.velocity(x, flow(x, t.expand(5)), t.expand(5))
    assert torch.allclose(ours, x, rtol=1e-6, atol=1e-7)


# --- the couplings and what is learned under them


class Linearly:
    """The denoiser of a velocity ``-mean + slope(t) (x - (1 - t) mean)``, on any process at its own times."""

    def __init__(self, slope, theta: Tensor) -> None:
        self.slope, self.theta, self.process = slope, theta, Linear()

    def __call__(self, x, t, c=None, s=None):
        t = over(t, x)
        velocity = -MEAN + self.slope(t) * (x - (1 - t) * MEAN) + self.theta * torch.cos(2 * x)
        return x - t * velocity


def annealed(t: Tensor, b: float) -> Tensor:
    """SlimFlow's card: the slope of the best velocity under the coupling ``sqrt(1 - b^2) z + b z'``."""
    rho = (1 - b * b) ** 0.5
    above = t - (1 - t) * STD**2 + (1 - 2 * t) * rho * STD
    return above / ((1 - t) ** 2 * STD**2 + t**2 + 2 * t * (1 - t) * rho * STD)


def learning(coupling, student_of, place: float) -> tuple[float, float, float]:
    """Return gradient, expected cost and largest cost of a velocity, over stored pairs and fresh noise."""
    theta = column(0.0)[0].requires_grad_(True)
    points, weights = normal_points(12, 2)
    stored, fresh = points[:, :1], points[:, 1:]
    term = Denoise(times=Along(Uniform(place, place), 0.0, 1.0), weight=VelocityWeight(), coupling=coupling)
    batch = Batch(MEAN + STD * stored, None, stored)
    turn = Turn("student", {"student": student_of(theta)}, batch, Given([fresh], [column(0.5)]), OneStep(1.0))
    cost = term(turn)
    return torch.autograd.grad(weights @ cost, theta)[0].item(), (weights @ cost).item(), cost.max().item()


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("b", [0.0, 0.3, 0.7, 1.0])
def test_annealed_reflow_learns_the_published_velocity(b: float, place: float):
    """The formula is the optimum for its own b; at b = 1 it is flow matching, at b = 0 reflow."""
    slope, _, _ = learning(Annealed(b), lambda theta: Linearly(lambda t: annealed(t, b), theta), place)
    assert abs(slope) < 1e-7
    other = 0.3 if b != 0.3 else 0.9
    slope, _, _ = learning(Annealed(b), lambda theta: Linearly(lambda t: 0.1 + annealed(t, other), theta), place)
    assert abs(slope) > 1e-4


def test_annealed_formula_runs_from_flow_matching_to_reflow():
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    matching = (t - (1 - t) * STD**2) / (t**2 + (1 - t) ** 2 * STD**2)
    assert torch.allclose(annealed(t, 1.0), matching, rtol=1e-12)
    assert torch.allclose(annealed(t, 0.0), (1 - STD) / (t + (1 - t) * STD), rtol=1e-12)


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_exact_second_flow_leaves_reflow_no_cost_and_the_first_one_does(place: float):
    """2-RF: v = z (1 - s) - mean; under stored pairs every item's velocity is met exactly."""
    _, _, most = learning(Stored(), lambda theta: Linearly(lambda t: (1 - STD) / (t + (1 - t) * STD), theta), place)
    assert most < 1e-24
    _, cost, _ = learning(Stored(), lambda theta: Linearly(lambda t: annealed(t, 1.0), theta), place)
    assert cost > 1e-3
    assert abs(learning(Independent(), lambda theta: Linearly(lambda t: annealed(t, 1.0), theta), place)[0]) < 1e-7


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_second_flow_needs_one_step(steps: int):
    straight = Linearly(lambda t: (1 - STD) / (t + (1 - t) * STD), column(0.0)[0])
    mean, std = spread(straight, Trailing(1.0).steps(steps))
    assert (mean, std) == pytest.approx((MEAN, STD), rel=1e-12)
    z = torch.linspace(-2, 2, 5).double()[:, None]  # and the same network on EDM's clock, where our recipes reflow
    x = MEAN + (STD + 20) * z
    ends = few_step(FlowMap(Moved(straight, EDM())), x, Rectified(20.0).steps(steps), gamma=0.0)
    assert torch.allclose(ends, MEAN + STD * z, rtol=1e-10)


@pytest.mark.parametrize("b", [0.0, 0.3, 1.0])
def test_annealed_noise_keeps_variance_1_and_its_share_of_the_stored(b: float):
    points, weights = normal_points(4, 2)
    batch = Batch(points[:, :1], None, points[:, :1])
    z = Annealed(b)(batch, batch.x0, Given([points[:, 1:]]), Progress())[:, 0]
    assert (weights @ z).item() == pytest.approx(0, abs=1e-12)
    assert (weights @ z**2).item() == pytest.approx(1, rel=1e-12)
    assert (weights @ (z * points[:, 0])).item() == pytest.approx((1 - b * b) ** 0.5, abs=1e-12)


def test_annealing_runs_from_fresh_noise_to_the_stored():
    batch, fresh = Batch(column(5.0)[:, None], None, column(2.0)[:, None]), column(-3.0)[:, None]
    rule = Annealed(Piecewise(((0.0, 1.0), (0.5, 0.0))))
    at = [rule(batch, batch.x0, Given([fresh]), Progress(update, 10)).item() for update in (0, 5, 10)]
    assert at == [-3, 2, 2]


@pytest.mark.parametrize("coupling", [Stored(), Annealed()], ids=str)
def test_coupling_to_stored_noise_refuses_data_without_it(coupling):
    x0 = torch.zeros(2, 1, dtype=torch.float64)
    with pytest.raises(RecipeError, match=r"needs stored pairs .* give the recipe 'pairs'"):
        coupling(Batch(x0), x0, Draws(0, x0.device), Progress())


def test_independent_noise_is_fresh_whatever_is_stored():
    batch, fresh = Batch(column(5.0)[:, None], None, column(2.0)[:, None]), column(-3.0)[:, None]
    assert torch.equal(Independent()(batch, batch.x0, Given([fresh]), Progress()), fresh)


# --- progressive distillation


class Tabled:
    """A linear student with one slope per time of a grid."""

    def __init__(self, path: Process, times: Tensor, slopes: Tensor) -> None:
        self.process, self.times, self.slopes = path, times, slopes

    def __call__(self, x, t, c=None, s=None):
        return over(self.slopes[(self.times[None] - t[:, None]).abs().argmin(1)], x) * x


CLOCKS = {"linear": Trailing(1.0), "vp cosine": Trailing(990.0), "edm": Rectified(20.0)}


def halved(path: Process, schedule: Schedule, teacher: Tabled, update: int) -> Tabled:
    """Return the student that solves a round: at each time of its grid the estimate that costs nothing."""
    rule, now = Halving(8, 4), Progress(update, 4)
    term = Consistency(
        Midpoints(schedule, rule),
        Segments(schedule, rule),
        bridge=JumpBridge("previous"),
        target=Averaged("previous"),
        space=Estimate(),
        weight=TruncatedSNR(),
    )
    cells = rule.at(now) - 1
    x0, u = torch.ones(cells, 1, dtype=torch.float64), (torch.arange(cells, dtype=torch.float64) + 0.5) / cells

    def gradient(slopes: Tensor) -> Tensor:
        slopes.requires_grad_(True)
        views = {"student": Tabled(path, times, slopes), "student.previous": teacher}
        cost = term(Turn("student", views, Batch(x0), Given([x0], [u, u]), OneStep(1.0), now)).sum()
        return torch.autograd.grad(cost, slopes)[0][:-1]

    times = grid(schedule, cells)
    none, one = (gradient(torch.full((cells + 1,), value, dtype=torch.float64)) for value in (0.0, 1.0))
    return Tabled(path, times, torch.cat([none / (none - one), column(0.0)]))


@pytest.mark.parametrize("name", CLOCKS)
def test_halved_student_is_the_product_of_the_original_grid(name: str):
    """8 -> 4 -> 2 -> 1 steps: prod kappa(t_i, t_{i+1}) over the eight steps of the first teacher, in every round."""
    path, schedule = PATHS[name], CLOCKS[name]
    world, fine = Gaussian(path, column(0.0), STD), grid(schedule, 16)
    x = torch.ones(1, 1, dtype=torch.float64)
    slopes = torch.cat([torch.cat([world(x, t[None]) for t in fine[:-1]])[:, 0], column(0.0)])
    student, product = Tabled(path, fine, slopes), prod(kappas(path, fine))
    for update, cells in enumerate((8, 4, 2, 1)):
        student = halved(path, schedule, student, update)
        end = few_step(FlowMap(student), x, grid(schedule, cells), gamma=0.0)
        assert end.item() == pytest.approx(product, rel=1e-9)


def kappas(path: Process, times: Tensor) -> list[float]:
    """Return the slope of each DDIM step of the exact denoiser."""
    alpha, sigma = path.alpha(times), path.sigma(times)
    keep = sigma[1:] / sigma[:-1]
    share = alpha[:-1] * STD**2 / (alpha[:-1] ** 2 * STD**2 + sigma[:-1] ** 2)
    return (keep + (alpha[1:] - alpha[:-1] * keep) * share).tolist()


@pytest.mark.parametrize("name", CLOCKS)
def test_target_of_progressive_distillation_lands_where_two_steps_do(name: str):
    """One DDIM step along x~ ends on x'', and x~ is not the teacher's second estimate, except in the last cell."""
    path, schedule = PATHS[name], CLOCKS[name]
    world, (t, m, s) = Gaussian(path, column(MEAN), STD), grid(schedule, 8)[2:5, None].expand(3, 5)
    x = torch.linspace(-2, 2, 5).double()[:, None]
    two = DDIM()(world, x, torch.stack([t, m, s]))
    turn = Turn("student", {"student": world}, Batch(x), Given(), OneStep(1.0))
    target = Estimate()(turn, two, s, Noised(x, t, x, x))
    assert torch.allclose(path.step(x, target, t, s), two, rtol=1e-10)
    middle = path.step(x, world(x, t), t, m)
    assert (target - world(middle, m)).abs().max() > 1e-3
    last = Estimate()(turn, DDIM()(world, x, torch.stack([t, m, 0 * t])), 0 * t, Noised(x, t, x, x))
    assert torch.allclose(last, world(middle, m), rtol=1e-12)


@pytest.mark.parametrize("total", [12, 10, 1400])
def test_rounds_take_a_snapshot_at_the_end_of_each_and_hold_it(total: int):
    """The teacher of a round is the student at the end of the round before, when the grid is halved too."""
    net = torch.nn.Linear(1, 1).double()
    average, held = Average(net, Ema(Rounds(4), warm=False)), []
    torch.nn.init.constant_(net.weight, -1.0)
    average.follow(net, Progress(total - 1, total))
    for update in range(total):
        held.append(average.net.weight.item())  # what this update's turn sees
        torch.nn.init.constant_(net.weight, float(update))
        average.follow(net, Progress(update, total))
    rounds = [Halving(8, 4).at(Progress(update, total)) for update in range(total)]
    for update in range(1, total):
        if rounds[update] == rounds[update - 1]:
            assert held[update] == held[update - 1]
        else:
            assert held[update] == update - 1
    assert len(set(held)) == 4
