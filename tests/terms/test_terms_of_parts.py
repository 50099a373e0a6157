"""Several students behind one network: the card of multi-student distillation, on two classes that are Gaussians."""

from dataclasses import dataclass

import pytest
import torch
from matching import ALPHA, G1, SIGMA, at, column, normal
from torch import Tensor

from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.networks import Routed
from fewstep.predict import X0
from fewstep.terms import KL, DistributionMatching
from fewstep.testing import Affine, Classes, Gaussian, Given, normal_points
from fewstep.training import OneStep
from fewstep.turn import Turn

STD = 0.5
V = (ALPHA * STD) ** 2 + SIGMA**2
TEACHER = Classes(G1, column(1.0, -1.0, 0.0)[:, None], STD)
TERM = DistributionMatching(times=at(1.0), normaliser=KL())
BLIND = (-0.3, 1.2)  # of which all students begin


def students(parts: int, *laws: tuple[float, float]) -> Routed:
    """Students ``a + b z``, each blind to the class, behind a router that is not."""
    net = Routed(Affine(column(0.0), column(1.0)[None]), parts, 2)
    with torch.no_grad():
        for body, (a, b) in zip(net.bodies, laws, strict=True):
            body.offset.fill_(a)
            body.matrix.fill_(b)
    return net


def laws_of(net: Routed) -> list[tuple[float, float]]:
    return [(body.offset.item(), body.matrix.item()) for body in net.bodies]


@dataclass(frozen=True, eq=False)
class Exact:
    """The denoiser of the students' samples: of each class, that of the student who serves it."""

    net: Routed
    process = G1

    def law(self, label: int) -> Gaussian:
        return normal(G1, *laws_of(self.net)[int(self.net.owner[label])])

    def __call__(self, x: Tensor, t: Tensor, c: Tensor, s: Tensor | None = None) -> Tensor:
        return torch.where((c == 0)[:, None], self.law(0)(x, t), self.law(1)(x, t))


def gradients(net: Routed) -> list[Tensor]:
    """Return d/da and d/db of every student, by quadrature, with as many items of one class as of the other."""
    points, weights = normal_points(4, 2)
    points, weights, c = points.repeat(2, 1), weights.repeat(2) / 2, torch.arange(2).repeat_interleave(16)
    views = {"student": Denoiser(net, G1, X0()), "teacher": TEACHER, "fake_score": Exact(net)}
    draws = Given([points[:, :1], points[:, 1:]], [column(0.5)])
    turn = Turn("student", views, Batch(torch.zeros(32, 1).double(), c), draws, OneStep(2.0))
    return list(torch.autograd.grad(weights @ TERM(turn), list(net.parameters())))


def divergence(net: Routed) -> float:
    """Return KL(q_t || p_t) at time 1, the mean over the classes, as an expectation of log densities."""
    z, weights = normal_points(6)
    t, found = column(1.0).expand(6), 0.0
    for label in (0, 1):
        mine, theirs = Exact(net).law(label), TEACHER.law(torch.full((6,), label))
        x = ALPHA * mine.mean + mine.spread(t)[:, None] * z
        found += (weights @ (mine.log_density(x, t) - theirs.log_density(x, t))).item() / 2
    return found


def descended(net: Routed) -> Routed:
    for _ in range(50):
        slopes = gradients(net)
        with torch.no_grad():
            for parameter, slope in zip(net.parameters(), slopes, strict=True):
                parameter -= 0.6 * slope
    return net


def test_one_student_of_two_classes_ends_between_them_at_what_it_cannot_know():
    """``alpha^2 / (2 v_p)`` at a = 0 and v_q = v_p, for classes at 1 and -1."""
    best = students(1, (0.0, STD))
    assert max(slope.abs().max().item() for slope in gradients(best)) < 1e-12
    assert divergence(best) == pytest.approx(ALPHA**2 / (2 * V), rel=1e-9)
    found = descended(students(1, BLIND))
    assert laws_of(found)[0] == pytest.approx((0.0, STD), abs=1e-3)
    assert divergence(found) == pytest.approx(divergence(best), abs=1e-5)
    for beside in ((0.1, STD), (-0.1, STD), (0.0, STD + 0.1), (0.0, STD - 0.1)):
        assert divergence(students(1, beside)) > divergence(best) + 1e-3


def test_a_student_for_each_class_loses_nothing():
    best = students(2, (1.0, STD), (-1.0, STD))
    assert max(slope.abs().max().item() for slope in gradients(best)) < 1e-12
    assert divergence(best) == pytest.approx(0.0, abs=1e-12)
    found = descended(students(2, BLIND, BLIND))
    assert laws_of(found)[0] == pytest.approx((1.0, STD), abs=2e-3)
    assert laws_of(found)[1] == pytest.approx((-1.0, STD), abs=2e-3)
    assert divergence(found) < 1e-4


def test_students_of_one_law_are_pulled_apart_as_one_student_is_on_average():
    """The same classes, told apart: what cancels for one student is left for two."""
    one, two = gradients(students(1, BLIND)), gradients(students(2, BLIND, BLIND))
    mean, std = two[0::2], two[1::2]
    assert torch.allclose(sum(mean), one[0], rtol=1e-9)
    assert torch.allclose(sum(std), one[1], rtol=1e-9)
    assert (mean[0] - mean[1]).item() == pytest.approx(-(ALPHA**2) / V, rel=1e-9)
