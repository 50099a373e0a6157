"""The rollouts of a student: what its calls are fed, and which of them learns."""

import pytest
import torch
from torch import Tensor

from fewstep.denoiser import Denoiser
from fewstep.flowmap import FlowMap
from fewstep.predict import X0
from fewstep.scalars import Piecewise, Progress
from fewstep.testing import PATHS, Affine, Counted, Gaussian, Given, normal_points
from fewstep.times import Explicit, Trailing
from fewstep.training.rollouts import BackwardSimulation, OneStep
from fewstep.vp import VP

PATH = VP((0.64, 0.01))  # alpha .8 at time 1, .1 at time 2
TIMES = Explicit((2.0, 1.0))
RARELY = 999_999  # the draw that decides about the first call


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def variance(weights: Tensor, x: Tensor) -> float:
    mean = weights @ x[:, 0]
    return (weights @ (x[:, 0] - mean) ** 2).item()


def run(rollout, student, integers: list[int], nodes: int = 3):
    """Roll out on quadrature points for the first noise and the second."""
    points, weights = normal_points(nodes, 2)
    draws = Given([points[:, :1], points[:, 1:]], integers=integers)
    return rollout(FlowMap(student), torch.zeros(len(points), 1, dtype=torch.float64), None, draws), weights, draws


def test_second_call_is_fed_the_law_it_meets_when_sampling():
    """Teacher N(1, .5^2), first call at alpha .1: x0 ~ (0.99748, 6.28e-4), so the input has variance 0.360402."""
    student = Counted(Gaussian(PATH, column(1.0), 0.5))
    rolled, weights, draws = run(BackwardSimulation(TIMES, steps=2), student, [RARELY, 1])
    first, second = (x for x, _, _, _ in student.asked)
    assert variance(weights, first) == pytest.approx(0.99, rel=1e-9)
    assert (weights @ second[:, 0]).item() == pytest.approx(0.8 * 0.99748, abs=1e-5)
    assert variance(weights, second) == pytest.approx(0.360402, abs=1e-6)
    assert [t[0].item() for _, t, _, _ in student.asked] == [2, 1]
    assert rolled.t.tolist() == [1] * 9
    assert draws.left == 0
    noised_data = 0.64 * 0.25 + 0.36
    assert noised_data == pytest.approx(0.52)  # what the mistake would feed


def test_first_call_is_fed_pure_noise():
    student = Counted(Gaussian(PATH, column(1.0), 0.5))
    rolled, weights, _ = run(BackwardSimulation(TIMES, steps=2), student, [RARELY, 0])
    assert student.calls == 1
    assert variance(weights, student.asked[0][0]) == pytest.approx(0.99, rel=1e-9)
    assert rolled.t.tolist() == [2] * 9


def test_share_of_first_calls_is_a_knob():
    student = Counted(Gaussian(PATH, column(1.0), 0.5))
    _, _, draws = run(BackwardSimulation(TIMES, steps=2, first=1.0), student, [RARELY])
    assert student.calls == 1
    assert draws.left == 1  # the second noise
    run(BackwardSimulation(TIMES, steps=2, first=0.3), student, [299_999])
    assert student.calls == 2
    run(BackwardSimulation(TIMES, steps=2, first=0.3), student, [300_000, 1])
    assert student.calls == 4


def test_share_of_first_calls_may_change_while_training():
    """A constant stays what it was, to the bit; a rollout that is not told of progress is at the beginning."""
    falling = BackwardSimulation(TIMES, steps=2, first=Piecewise(((0.0, 1.0), (1.0, 0.0))))
    assert [falling.at(Progress(done, 4)).first for done in range(5)] == [1, 0.75, 0.5, 0.25, 0]
    assert BackwardSimulation(TIMES, first=0.3).at(Progress(3, 4)) == BackwardSimulation(TIMES, first=0.3)
    assert OneStep(2.0).at(Progress(3, 4)) == OneStep(2.0)
    student = Counted(Gaussian(PATH, column(1.0), 0.5))
    run(falling, student, [RARELY])
    assert student.calls == 1
    run(falling.at(Progress(4, 4)), student, [0, 1])
    assert student.calls == 3


def test_only_the_last_call_carries_a_graph():
    net = Affine(column(0.2), column(0.9)[None])
    student = Counted(Denoiser(net, PATH, X0()))
    rolled, _, _ = run(BackwardSimulation(TIMES, steps=2), student, [RARELY, 1])
    last = student.asked[-1][0]
    assert not last.requires_grad
    slope = torch.autograd.grad(rolled.x0.sum(), net.matrix)[0]
    assert slope.item() == pytest.approx(last.sum().item())


@pytest.mark.parametrize("name", ["edm", "linear", "vp linear", "vp zero snr"])
def test_one_step_is_one_call_from_pure_noise(name: str):
    path = PATHS[name]
    world = Counted(Gaussian(path, column(0.3), 0.5))
    z = column(-1.0, 0.5, 2.0)[:, None]
    rolled = OneStep(path.t_max)(FlowMap(world), z, None, Given([z]))
    x, t, _, s = world.asked[0]
    assert world.calls == 1
    assert t.tolist() == [path.t_max] * 3
    assert s.tolist() == [0] * 3
    assert torch.allclose(x, path.sigma(t)[:, None] * z)
    assert torch.equal(rolled.x0, world.inner(x, t))


def test_many_steps_follow_the_schedule():
    world = Counted(Gaussian(PATHS["vp linear"], column(0.3), 0.5))
    z = column(-1.0, 0.5)[:, None]
    draws = Given([z, z, z, z], integers=[RARELY, 3])
    BackwardSimulation(Trailing(1000.0), steps=4)(FlowMap(world), z, None, draws)
    assert [t[0].item() for _, t, _, _ in world.asked] == [1000, 750, 500, 250]
