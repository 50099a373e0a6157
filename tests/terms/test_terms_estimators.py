"""The score identity and the detached gradient, against the divergences that they belong to."""

import pytest
import torch
from matching import ALPHA, G1, G1A, G1B, SIGMA, TEACHER, at, column, costs, judged, normal, on_g1, on_g3
from torch import Tensor

from fewstep.batch import Batch
from fewstep.process import EDM
from fewstep.terms import (
    L1,
    L2,
    DistributionMatching,
    Huber,
    Identity,
    Metric,
    Plain,
    PseudoHuber,
    Residual,
    Shortened,
)
from fewstep.testing import Affine, Given, normal_points, small_views
from fewstep.training.rollouts import OneStep
from fewstep.turn import Turn

SCORE = ALPHA / SIGMA**2  # times a difference of estimates of the data, it is one of scores
V_P = (ALPHA * TEACHER[1]) ** 2 + SIGMA**2


def matching(estimator=None, normaliser=None) -> DistributionMatching:
    given = {} if estimator is None else {"estimator": estimator}
    return DistributionMatching(times=at(1.0), normaliser=normaliser or Plain(), **given)


def identity(alpha: float = 1.0, student=G1A, distance: Metric | None = None, nodes: int = 6) -> list[float]:
    """d/da and d/db in the unit of scores, as if the estimates of the data were scores."""
    return [SCORE**2 * g for g in on_g1(matching(Identity(alpha, distance or L2())), student, nodes)]


def spread(student: tuple[float, float]) -> float:
    return (ALPHA * student[1]) ** 2 + SIGMA**2


def fisher(student: tuple[float, float]) -> list[float]:
    """The gradient of E_q (s_q - s_p)^2."""
    (a, b), v_q = student, spread(student)
    return [2 * ALPHA**2 * (a - TEACHER[0]) / V_P**2, 2 * ALPHA**2 * b * (1 / V_P**2 - 1 / v_q**2)]


def implicit(student: tuple[float, float]) -> list[float]:
    """The gradient of the same with the law of x_t held."""
    (a, b), v_q = student, spread(student)
    mean = 2 * ALPHA**2 * (a - TEACHER[0]) / (V_P * v_q)
    return [mean, 4 * ALPHA**2 * b * (1 / V_P - 1 / v_q) / v_q]


@pytest.mark.parametrize(
    ("alpha", "exact"), [(0.5, (-3.076923, 2.372656)), (1.0, (-1.248439, 1.369651)), (1.2, (-0.517046, 0.968448))]
)
def test_identity_has_the_known_gradients_of_sid(alpha: float, exact):
    assert identity(alpha) == pytest.approx(exact, abs=2e-6)


@pytest.mark.parametrize("student", [G1A, G1B, (1.4, 0.2)], ids=str)
def test_half_is_half_the_gradient_of_the_fisher_divergence(student):
    assert identity(0.5, student) == pytest.approx([g / 2 for g in fisher(student)], rel=1e-9)


def test_one_is_half_the_gradient_of_score_implicit_matching():
    assert [2 * g for g in identity(1.0)] == pytest.approx([-2.496879, 2.739301], abs=2e-6)
    assert [2 * g for g in identity(1.0, G1B)] == pytest.approx(implicit(G1B), rel=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.2])
def test_every_alpha_mixes_the_two(alpha: float):
    mixed = [
        (1 - alpha) * f + (alpha - 0.5) * i for f, i in zip(fisher(G1B), implicit(G1B), strict=True)
    ]  # fmt: skip
    assert identity(alpha, G1B) == pytest.approx(mixed, rel=1e-9)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.2])
def test_cost_is_the_divergence_times_one_minus_alpha_and_so_not_a_distance(alpha: float):
    """With F = 5.673766 at G1: F sigma^4 / alpha_t^2 = 1.148938; at alpha 1 the cost is 0 for every student."""
    points, weights = normal_points(6, 2)
    net = Affine(column(G1A[0]), column(G1A[1])[None])
    views = judged(normal(G1, *TEACHER), normal(G1, *G1A))
    value = (weights @ costs(matching(Identity(alpha)), net, views, points)).item()
    assert value == pytest.approx((1 - alpha) * 5.673766 / SCORE**2, abs=1e-6)
    assert pytest.approx(1.148938, abs=1e-6) == 5.673766 / SCORE**2


def in_score_units(c: float) -> PseudoHuber:
    """The pseudo-Huber distance whose knee is c for differences of scores."""
    return PseudoHuber(c / SCORE)


def test_pseudo_huber_has_the_known_gradient_of_sim():
    """d' does not depend on the unit, so there is one factor alpha / sigma^2 alone."""
    grads = on_g1(matching(Identity(1.0, in_score_units(0.5))), G1A, 80)
    assert [2 * SCORE * g for g in grads] == pytest.approx([-0.517411, 0.279042], abs=2e-6)


def test_pseudo_huber_with_a_wide_knee_is_half_the_square():
    wide = 1e5
    found = [wide * g for g in on_g1(matching(Identity(1.0, PseudoHuber(wide))), G1A, 6)]
    assert found == pytest.approx([g / 2 for g in on_g1(matching(Identity(1.0, L2())), G1A, 6)], rel=1e-6)


def expected_distance(distance: Metric, student, nodes: int = 80) -> list[float]:
    """d/da and d/db of E_q d(D_q - D_p) with everything in the graph, the student's own denoiser too."""
    a, b = (column(value).requires_grad_(True) for value in student)
    z, weights = normal_points(nodes)
    v = (ALPHA * b) ** 2 + SIGMA**2
    x = ALPHA * a + v.sqrt() * z
    mine = a + ALPHA * b**2 / v * (x - ALPHA * a)
    theirs = TEACHER[0] + ALPHA * TEACHER[1] ** 2 / V_P * (x - ALPHA * TEACHER[0])
    value = weights @ distance(mine - theirs, torch.zeros_like(x))
    return [g.item() for g in torch.autograd.grad(value, (a, b))]


@pytest.mark.parametrize("distance", [L2(), PseudoHuber(0.4), Huber(0.3)], ids=str)
def test_half_is_half_the_gradient_of_every_expected_distance(distance: Metric):
    found = on_g1(matching(Identity(0.5, distance)), G1B, 80)
    assert found == pytest.approx([g / 2 for g in expected_distance(distance, G1B)], abs=1e-7)


def test_identity_in_two_dimensions():
    """SIM with the sum of squares; ours is half of it per dimension, in the unit of the data."""
    score = 0.7 / 0.51
    exact = [-2.041748, 2.323262, -0.331105, -0.370395, -0.387718, 0.212284]
    assert [2 * score**2 * g for g in on_g3(matching(Identity()), 4)] == pytest.approx(exact, abs=2e-6)


@pytest.mark.parametrize(("slope", "mean", "width"), [(0.9, 1, 1), (1.6, -1, 1), (2.2, -1, -1)])
def test_above_one_the_pull_turns_round_for_students_far_too_wide(slope: float, mean: int, width: int):
    """At alpha 1.2: on the mean where v_q / v_p > 3.5, on the deviation where it is > 6."""
    da, db = identity(1.2, (2.0, slope))
    assert (da > 0) == (mean > 0)
    assert (db > 0) == (width > 0)


class Deaf:
    """A denoiser through which no gradient passes to x."""

    def __init__(self, inner) -> None:
        self.inner, self.process = inner, inner.process

    def __call__(self, x, t, c=None, s=None):
        return self.inner(x.detach(), t, c, s)


def test_identity_without_the_way_through_the_denoisers_is_diff_instruct():
    views = {"teacher": Deaf(normal(G1, *TEACHER)), "fake_score": Deaf(normal(G1, *G1A))}
    assert on_g1(matching(Identity()), views=views) == pytest.approx([-0.900000, 0.493691], abs=1e-6)
    assert on_g1(matching(), views=views) == pytest.approx([-0.900000, 0.493691], abs=1e-6)
    assert on_g1(matching(Identity()))[0] != pytest.approx(-0.9, abs=1e-2)


def test_normaliser_of_the_identity_carries_no_gradient():
    """Item by item, the gradient is the factor times that without it."""
    views = judged(normal(G1, *TEACHER), normal(G1, *G1A))
    points = torch.randn(40, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    t = torch.ones(40, dtype=torch.float64)

    def slopes(normaliser) -> tuple[Tensor, Tensor]:
        net = Affine(column(G1A[0]), column(G1A[1])[None])
        cost = costs(matching(Identity(1.2), normaliser), net, views, points)
        return cost, torch.stack([torch.autograd.grad(each, net.offset, retain_graph=True)[0] for each in cost])

    x0 = G1A[0] + G1A[1] * points[:, :1]
    factor = 1 / (x0 - views["teacher"](G1.noise(x0, points[:, 1:], t), t)).abs()[:, 0]
    for plain, normalised in zip(slopes(Plain()), slopes(Residual()), strict=True):
        assert torch.allclose(normalised.flatten(), factor * plain.flatten(), rtol=1e-9)


@pytest.mark.parametrize("estimator", [Identity(), Identity(1.2, PseudoHuber(0.1))], ids=str)
def test_identity_passes_through_frozen_networks_and_leaves_them_alone(estimator):
    nets = small_views(EDM())
    for name, view in nets.items():
        view.net.requires_grad_(name == "student")
    x0, *z = torch.randn(4, 8, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def gradient(term: DistributionMatching) -> Tensor:
        nets["student"].net.zero_grad()
        term(Turn("student", nets, Batch(x0), Given(z, [column(0.3)]), OneStep(2.0))).mean().backward()
        return torch.cat([p.grad.flatten() for p in nets["student"].net.parameters() if p.grad is not None])

    through = gradient(DistributionMatching(normaliser=Plain(), estimator=estimator))
    assert all(p.grad is None for name in ("teacher", "fake_score") for p in nets[name].net.parameters())
    cut = {**nets, "teacher": Deaf(nets["teacher"]), "fake_score": Deaf(nets["fake_score"])}
    nets = cut
    assert not torch.allclose(through, gradient(DistributionMatching(normaliser=Plain(), estimator=estimator)))


def test_without_gradients_nobody_builds_a_graph():
    """As in a rehearsal; and ``Detached`` asks without one in any case."""
    net, graphs = Affine(column(G1A[0]), column(G1A[1])[None]), []

    class Asked(Deaf):
        def __call__(self, x, t, c=None, s=None):
            graphs.append(torch.is_grad_enabled())
            return self.inner(x, t, c, s)

    views = {"teacher": Asked(normal(G1, *TEACHER)), "fake_score": Asked(normal(G1, *G1A))}
    points = column(0.3, -0.2)[None]
    cost = costs(matching(Identity()), net, views, points)
    costs(matching(), net, views, points)
    with torch.no_grad():
        assert torch.equal(cost, costs(matching(Identity()), net, views, points))
    assert graphs == [True, True, False, False, False, False]


def test_shortened_is_detached_where_the_metric_is_a_square():
    assert [g / 2 for g in on_g1(matching(Shortened(L2())))] == pytest.approx(on_g1(matching()), rel=1e-12)


def test_shortened_by_huber_is_nearly_the_sign_of_the_direction():
    """``w y / sqrt(y^2 + c^2)`` per value, over the dimensions."""
    views = judged(normal(G1, *TEACHER), normal(G1, *G1A))
    points, t = torch.randn(40, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64), torch.ones(40)
    x0 = G1A[0] + G1A[1] * points[:, :1]
    x = G1.noise(x0, points[:, 1:], t.double())
    real, y = views["teacher"](x, t.double()), views["fake_score"](x, t.double()) - views["teacher"](x, t.double())
    net = Affine(column(G1A[0]), column(G1A[1])[None])
    for metric, slope in ((Huber(0.3), y / (y**2 + 0.09).sqrt()), (L1(), y.sign())):
        cost = costs(matching(Shortened(metric), Residual()), net, views, points).sum()
        found = torch.autograd.grad(cost, net.offset)[0].item()
        assert found == pytest.approx((slope / (x0 - real).abs()).sum().item(), rel=1e-9)
