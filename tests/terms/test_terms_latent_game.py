"""The game of LADD: nothing but heads on frozen features, which compare a student with samples of its teacher."""

from functools import cache

import pytest
import torch
from matching import G1, Fixed, at, column
from torch import Tensor, nn

from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.flowmap import FlowMap
from fewstep.predict import X0
from fewstep.terms import Adversarial, Discriminate, GanLoss, Hinge, Softplus
from fewstep.testing import Given, Jump, Mixture, normal_points
from fewstep.training import OneStep
from fewstep.turn import Turn

ITEMS, NOISES = 200, 8
HEAPS, LEFT = ((-2.0, 0.5), (1.5, 0.4)), 60  # of the teacher; so many of its items are in the left one
TEACHER = Mixture(G1, column(LEFT / ITEMS, 1 - LEFT / ITEMS), column(-2.0, 1.5)[:, None], column(0.5, 0.4), 32)
LOSSES = pytest.mark.parametrize("loss", [Hinge(), Softplus()], ids=str)


def normals(count: int) -> Tensor:
    """Return so many points (count, 1), alike in weight, that stand for a normal number."""
    return torch.special.ndtri((torch.arange(count, dtype=torch.float64)[:, None] + 0.5) / count)


def items(left: int = LEFT) -> Tensor:
    """Return items of the teacher's two heaps, so many of them from the left one."""
    (a, b), (c, d) = HEAPS
    return torch.cat([a + b * normals(left), c + d * normals(ITEMS - left)])


@cache
def sampled() -> Tensor:
    """Return samples of the teacher: where its path leads from pure noise."""
    draws = Given([normals(ITEMS)])
    return OneStep(2.0)(FlowMap(Jump(TEACHER)), torch.zeros(ITEMS, 1).double(), None, draws).x0


class Head(nn.Module):
    """A line through frozen features: one step each, from left to right."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        weights = torch.randn(13, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        self.weights, self.bias = nn.Parameter(scale * weights), nn.Parameter(column(0.2 * scale)[0])

    def forward(self, x: Tensor, label: Tensor, c: Tensor | None = None, *, judge: int = 0) -> Tensor:
        return (1.5 * (x - torch.linspace(-3, 3, 13, dtype=torch.float64))).tanh() @ self.weights + self.bias


def turn_of(head: Head, real: Tensor, fake: Tensor) -> tuple[Turn, Tensor]:
    """Return a turn on all items with all noises at time 1, and the weights of its costs."""
    z, weights = normal_points(NOISES)
    z, weights = z.repeat(ITEMS, 1), weights.repeat(ITEMS) / ITEMS
    views = {"student": TEACHER, "fake_score": Denoiser(head, G1, X0())}
    real, fake = (each.repeat_interleave(NOISES, 0) for each in (real, fake))
    return Turn("fake_score", views, Batch(real), Given([z, z], [column(0.5)] * 2), Fixed(fake)), weights


def critic_cost(head: Head, loss: GanLoss, real: Tensor, fake: Tensor) -> Tensor:
    turn, weights = turn_of(head, real, fake)
    return weights @ Discriminate(at(1.0), loss)(turn)


def trained(head: Head, loss: GanLoss, real: Tensor, fake: Tensor) -> Head:
    optimiser = torch.optim.LBFGS(head.parameters(), max_iter=40, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        cost = critic_cost(head, loss, real, fake) + 1e-5 * head.weights.square().sum()
        cost.backward()
        return cost

    optimiser.step(closure)
    return head


def push(head: Head, loss: GanLoss, fake: Tensor) -> float:
    """Return where descent moves the samples on average: to the right where it is above 0."""
    offset = column(0.0).requires_grad_()
    turn, weights = turn_of(head, items(), fake + offset)
    return -torch.autograd.grad(weights @ Adversarial(times=at(1.0), loss=loss)(turn), offset)[0].item()


@LOSSES
@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_critic_cannot_tell_which_side_is_the_teachers_sampler(loss: GanLoss, scale: float):
    """Whatever the heads, its cost is the same with real and generated items exchanged, if their laws agree."""
    head, other = Head(scale), items(ITEMS - LEFT)
    here, there = critic_cost(head, loss, items(), sampled()), critic_cost(head, loss, sampled(), items())
    assert here.item() == pytest.approx(there.item(), abs=1e-5)
    here, there = critic_cost(head, loss, items(), other), critic_cost(head, loss, other, items())
    assert abs(here - there).item() > 0.1


@pytest.mark.parametrize(("loss", "share"), [(Hinge(), 0.2), (Softplus(), 1e-3)], ids=str)
def test_heads_that_have_learnt_fall_silent_before_a_student_that_is_its_teacher(loss: GanLoss, share: float):
    """To what the hinges leave, which are content with every critic between -1 and 1; heads at 0 stay there."""
    before = abs(push(Head(0.5), loss, sampled()))
    after = abs(push(trained(Head(0.5), loss, items(), sampled()), loss, sampled()))
    assert after < share * before
    assert abs(push(trained(Head(0.0), loss, items(), sampled()), loss, sampled())) < 1e-6


@LOSSES
@pytest.mark.parametrize(("left", "side"), [(ITEMS, 1), (0, -1), (ITEMS - LEFT, 1)])
def test_heads_that_have_learnt_push_from_the_students_mass_to_the_teachers(loss: GanLoss, left: int, side: int):
    """A student of the left heap alone, of the right one alone, and of both in the proportions of the other."""
    head = trained(Head(0.0), loss, items(), items(left))
    assert side * push(head, loss, items(left)) > 0.02
