"""Guidance inside distribution matching: on which side, at which scale, and as a push of its own."""

from dataclasses import dataclass, replace

import pytest
import torch
from matching import ALPHA, G1, SIGMA, at, column, normal
from torch import Tensor

from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.errors import RecipeError
from fewstep.guidance import CFG
from fewstep.predict import X0
from fewstep.terms import (
    KL,
    AlphaSigma,
    DistributionMatching,
    HiddenScales,
    NoisyResidual,
    Plain,
    Residual,
    Scales,
    Term,
    Unguided,
)
from fewstep.testing import Affine, Classes, Given, normal_points
from fewstep.times import Along, Law, LogitNormal, LogNormal, LogStudentT, Straight, Uniform
from fewstep.training.rollouts import OneStep
from fewstep.turn import Rolled, Rollout, Turn, within

MEANS, STD, SCALE = (1.0, -0.2), 0.5, 1.75  # of the condition, and of none
WORLD = Classes(G1, column(*MEANS)[:, None], STD)
BOTH, REAL, FAKE = ("teacher", "fake_score"), ("teacher",), ("fake_score",)


def guided_mean(scale: float) -> float:
    """The mean of the Gaussian whose denoiser guidance makes, for laws of equal deviation."""
    return MEANS[1] + scale * (MEANS[0] - MEANS[1])


def of_student(mean: float) -> Classes:
    """The exact fake score of a student with that mean; under no condition it knows what the teacher knows."""
    return Classes(G1, column(mean, MEANS[1])[:, None], STD)


def cost_of(term: Term, mean: float, views: dict | None = None, guides: Tensor | None = None) -> tuple[Tensor, Affine]:
    """Return the cost on quadrature points for the student mean + .5 z, times their weights, and the student."""
    points, weights = normal_points(4, 2)
    rows = 1 if guides is None else len(guides)
    points, weights = points.repeat(rows, 1), weights.repeat(rows) / rows
    net = Affine(column(mean), column(STD)[None])
    known = {"student": Denoiser(net, G1, X0()), "teacher": WORLD, "fake_score": of_student(mean), **(views or {})}
    u = [column(0.5)] if guides is None else [column(0.5), guides.repeat_interleave(16)]
    batch = Batch(torch.zeros(len(points), 1, dtype=torch.float64), torch.zeros(len(points), dtype=torch.int64))
    turn = Turn("student", known, batch, Given([points[:, :1], points[:, 1:]], u), OneStep(2.0))
    return weights * term(turn), net


def gradient(term: Term, mean: float, views: dict | None = None, guides: Tensor | None = None) -> list[float]:
    cost, net = cost_of(term, mean, views, guides)
    return [g.item() for g in torch.autograd.grad(cost.sum(), (net.offset, net.matrix))]


def matching(guide=None, normaliser=None, **names: str) -> DistributionMatching:
    guide = guide or Unguided()
    return DistributionMatching(times=at(1.0), normaliser=normaliser or Plain(), guide=guide, **names)


SPREADING = column(0.1, 0.4, 0.6, 0.9)  # the middle of the four is the middle of the law


@pytest.mark.parametrize("normaliser", [Plain(), KL(), AlphaSigma(), Residual(), NoisyResidual()], ids=str)
def test_guidance_on_both_sides_leaves_the_teacher_the_fixed_point(normaliser):
    """For every scale, drawn item by item: teacher and fake score must share the draw."""
    assert gradient(matching(HiddenScales(0.5, 4.0, BOTH), normaliser), MEANS[0], guides=SPREADING) == [0, 0]


@pytest.mark.parametrize(("over", "mean"), [(REAL, guided_mean(SCALE)), (FAKE, guided_mean(1 / SCALE))], ids=str)
def test_guidance_on_one_side_moves_the_fixed_point(over, mean: float):
    """To the guided mean with the teacher alone; with the fake score alone so that its own guided mean is right."""
    term = matching(HiddenScales(SCALE, SCALE, over))
    assert gradient(term, mean, guides=column(0.3)) == pytest.approx([0, 0], abs=1e-12)
    assert abs(gradient(term, MEANS[0], guides=column(0.3))[0]) > 0.1


def test_constant_scale_over_the_teacher_is_the_teacher_frozen_under_guidance():
    drawn = gradient(matching(HiddenScales(SCALE, SCALE, REAL)), 0.3, guides=column(0.3))
    assert drawn == pytest.approx(gradient(matching(), 0.3, {"teacher": CFG(SCALE)(WORLD)}), rel=1e-12)


@pytest.mark.parametrize("over", [BOTH, REAL, FAKE], ids=str)
@pytest.mark.parametrize("normaliser", [Plain(), AlphaSigma()], ids=str)
def test_random_scales_average_to_their_mean(over, normaliser):
    """The direction is affine in the scale."""
    spread = gradient(matching(HiddenScales(0.5, 4.0, over), normaliser), 0.3, guides=SPREADING)
    middle = gradient(matching(HiddenScales(2.25, 2.25, over), normaliser), 0.3, guides=SPREADING)
    assert spread == pytest.approx(middle, rel=1e-12)


@pytest.mark.parametrize("over", [BOTH, REAL], ids=str)
@pytest.mark.parametrize("normaliser", [Residual(), NoisyResidual()], ids=str)
def test_random_scales_do_not_average_under_a_factor_that_depends_on_the_teacher(over, normaliser):
    spread = gradient(matching(HiddenScales(0.5, 4.0, over), normaliser), 0.3, guides=SPREADING)
    middle = gradient(matching(HiddenScales(2.25, 2.25, over), normaliser), 0.3, guides=SPREADING)
    assert abs(spread[0] / middle[0] - 1) > 0.01


def test_nobody_is_told_of_a_hidden_scale():
    x0 = torch.zeros(4, 1, dtype=torch.float64)
    views = {"student": WORLD, "teacher": WORLD, "fake_score": WORLD}
    turn = Turn("student", views, Batch(x0, torch.zeros(4).long()), Given([], [column(0.2)]), OneStep(2.0))
    guided = HiddenScales(1.0, 3.0, REAL)(turn)
    assert guided.told == {}
    assert guided.views["teacher"].rules[0].scale.tolist() == pytest.approx([1.4] * 4)
    assert guided.views["fake_score"] is WORLD
    assert turn.views["teacher"] is WORLD


def test_guidance_that_cannot_be_is_refused():
    with pytest.raises(RecipeError, match="accepted is low <= high"):
        HiddenScales(2.0, 1.0)
    with pytest.raises(RecipeError, match="'nobody'"):
        gradient(matching(HiddenScales(1.0, 2.0, ("nobody",))), 0.3, guides=column(0.3))
    with pytest.raises(RecipeError, match="Scales, of which the student is told"):
        DistributionMatching(guide=Scales(1.0, 2.0))


# --- the push of guidance by itself


BLANK = {"blank": CFG(0.0)(WORLD)}  # the teacher without its condition


@pytest.mark.parametrize("scale", [0.0, 1.0, SCALE, 4.0])
def test_guided_direction_is_matching_plus_the_push_of_guidance(scale: float):
    """Item by item, when both are asked at the same x_t."""
    whole, net = cost_of(matching(), 0.3, {"teacher": CFG(scale)(WORLD)})
    plain, net_plain = cost_of(matching(), 0.3)
    push, net_push = cost_of(matching(fake="blank"), 0.3, BLANK)
    for i in range(16):
        d, dm, ca = (
            torch.autograd.grad(cost[i], each.offset, retain_graph=True)[0].item()
            for cost, each in ((whole, net), (plain, net_plain), (push, net_push))
        )
        assert d == pytest.approx(dm + (scale - 1) * ca, rel=1e-9, abs=1e-12)


def test_the_parts_share_one_draw_where_they_share_a_law():
    both = (matching(), matching(fake="blank"))

    @dataclass(frozen=True)
    class Sum(Term):
        SOURCE = "none"

        def __call__(self, turn):
            return both[0](turn) + (SCALE - 1) * both[1](turn)

    together = gradient(Sum(), 0.3, BLANK)  # Given holds one draw: a second one would raise
    assert together == pytest.approx(gradient(matching(), 0.3, {"teacher": CFG(SCALE)(WORLD)}), rel=1e-12)


@pytest.mark.parametrize("mean", [-3.0, 0.3, 5.0])
def test_push_of_guidance_is_constant_and_has_no_fixed_point(mean: float):
    """``alpha^2 (m_null - m_c) / v``, wherever the student is."""
    v = (ALPHA * STD) ** 2 + SIGMA**2
    push = gradient(matching(normaliser=KL(), fake="blank"), mean, BLANK)
    assert push == pytest.approx([ALPHA**2 * (MEANS[1] - MEANS[0]) / v, 0], abs=1e-12)


@dataclass(frozen=True, eq=False)
class Wider:
    """A condition whose law is narrower (std .5, mean 1) than that of none (std 1, mean 0)."""

    process = G1

    def __call__(self, x, t, c=None, s=None):
        narrow = c is not None and bool((c >= 0).all())
        return normal(G1, 1.0, 0.5)(x, t) if narrow else normal(G1, 0.0, 1.0)(x, t)


def guided_student(scale: float, mean: float, std: float) -> list[float]:
    points, weights = normal_points(4, 2)
    net = Affine(column(mean), column(std)[None])
    views = {"student": Denoiser(net, G1, X0()), "teacher": CFG(scale)(Wider()), "fake_score": normal(G1, mean, std)}
    batch = Batch(torch.zeros(16, 1, dtype=torch.float64), torch.zeros(16, dtype=torch.int64))
    turn = Turn("student", views, batch, Given([points[:, :1], points[:, 1:]], [column(0.5)]), OneStep(2.0))
    cost = weights @ matching(normaliser=KL())(turn)
    return [g.item() for g in torch.autograd.grad(cost, (net.offset, net.matrix))]


def test_guidance_shifts_and_narrows_where_deviations_differ():
    """The student's precision at time 1 is ``(1 - w) / v_null + w / v_c``, its mean weighted alike."""
    assert guided_student(1.75, 1.286765, 0.186886) == pytest.approx([0, 0], abs=1e-6)
    assert abs(guided_student(1.75, 1.25, 0.186886)[0]) > 1e-3
    assert abs(guided_student(1.75, 1.286765, 0.25)[1]) > 1e-3


@pytest.mark.parametrize("std", [0.05, 0.2, 0.5, 1.0])
def test_strong_guidance_collapses_the_student(std: float):
    """At scale 3 the precision leaves no room for the noise: descent narrows the student at every width."""
    assert guided_student(3.0, 1.3, std)[1] > 0.01


# --- times below that of the call


LAWS = [LogNormal(), LogitNormal(), Along(Uniform(0.0, 2.0)), Straight(0.1, 0.9), LogStudentT(0.01, 10.0, 1.0)]


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_law_below_a_time_is_the_law_given_that(law: Law):
    u = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    share = column(0.2, 0.6, 0.95)[:, None]
    top = law.times(G1, share.flatten())
    for part, limit in zip(share, top, strict=True):
        expected = law.times(G1, u * part)
        assert torch.allclose(
            within(law, G1, u, torch.zeros(99).double(), limit.expand(99)), expected, rtol=1e-5, atol=1e-9
        )


def test_no_time_below_the_earliest_is_invented():
    law, u = Along(Uniform(0.5, 1.0)), column(0.1, 0.9)
    assert within(law, G1, u, column(0, 0), column(0.2, 0.2)).tolist() == [0.2, 0.2]
    assert torch.allclose(within(law, G1, u, column(0, 0), column(3.0, 3.0)), law.times(G1, u), rtol=1e-12)


@dataclass(frozen=True, eq=False)
class Made(Rollout):
    """Samples of calls at different times."""

    t: Tensor

    def __call__(self, student, like, c, draws):
        return Rolled(student(like, self.t, torch.zeros_like(self.t), c), self.t)


def test_capped_times_lie_below_that_of_the_call():
    asked = []

    class Listening:
        process = G1

        def __call__(self, x, t, c=None, s=None):
            asked.append(t)
            return 0.5 * x

    made, u = column(0.4, 1.0, 1.9, 2.0), column(0.9, 0.5, 0.5, 0.999)
    net, x0 = Affine(column(0.0), column(1.0)[None]), torch.ones(4, 1, dtype=torch.float64)
    views = {"student": Denoiser(net, G1, X0()), "teacher": Listening(), "fake_score": Listening()}
    term = DistributionMatching(times=Along(Uniform(0.0, 2.0), 0.0, 1.0), capped=True)
    for each, expected in ((term, u * made), (replace(term, capped=False), 2 * u)):
        asked.clear()
        each(Turn("student", views, Batch(x0), Given([x0], [u]), Made(made)))
        assert all(torch.allclose(t, expected, rtol=1e-9) for t in asked)
        assert len(asked) == 2
