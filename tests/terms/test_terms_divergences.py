"""The weight h(r) of distribution matching, and the cost that it becomes in front of a critic."""

import math

import pytest
import torch
from matching import ALPHA, EXACT, G1A, G1B, SIGMA, TEACHER, at, column, on_g1, on_g2, on_g3
from torch import Tensor

from fewstep.terms import (
    KL,
    Adversarial,
    AlphaDivergence,
    DistributionMatching,
    Divergence,
    ForwardKL,
    Jeffreys,
    JensenShannon,
    Logistic,
    Neyman,
    Pearson,
    ReverseKL,
    SoftenedReverseKL,
    Softplus,
    SquaredHellinger,
    divergences,
)

FORMULAS = {  # f, convex with f(1) = 0; the divergence is E_q f(p / q)
    ReverseKL(): lambda r: -r.log(),
    SoftenedReverseKL(): lambda r: (r + 1) * (1 / 2 + 1 / (2 * r)).log(),
    JensenShannon(): lambda r: r * r.log() - (r + 1) * ((r + 1) / 2).log(),
    SquaredHellinger(): lambda r: 1 - r.sqrt(),
    ForwardKL(): lambda r: r * r.log(),
    Jeffreys(): lambda r: (r - 1) * r.log(),
    Neyman(): lambda r: (1 - r) ** 2 / r,
    Pearson(): lambda r: (r - 1) ** 2,
    AlphaDivergence(0.5): lambda r: (r**0.5 - 0.5 * r - 0.5) / (0.5 * -0.5),
    AlphaDivergence(-0.5): lambda r: (r**-0.5 + 0.5 * r - 1.5) / 0.75,
}
ALL = pytest.mark.parametrize("divergence", FORMULAS, ids=str)
RATIOS = column(0.05, 0.3, 0.9, 1.0, 1.7, 6.0)


def matching(divergence: Divergence, ratio=EXACT) -> DistributionMatching:
    return DistributionMatching(times=at(1.0), normaliser=KL(), divergence=divergence, ratio=ratio)


def derivative(function, x: Tensor, graph: bool = False) -> Tensor:
    return torch.autograd.grad(function(x).sum(), x, create_graph=graph)[0]


@ALL
def test_weight_is_the_square_of_r_times_the_second_derivative_of_f(divergence: Divergence):
    r = RATIOS.clone().requires_grad_(True)
    second = derivative(lambda x: derivative(FORMULAS[divergence], x, graph=True), r)
    assert torch.allclose(divergence.weight(r.detach()), r.detach() ** 2 * second, rtol=1e-9)
    assert FORMULAS[divergence](column(1.0)).abs() < 1e-12


@ALL
def test_cost_of_a_logit_is_f_minus_r_times_its_derivative(divergence: Divergence):
    r = RATIOS.clone().requires_grad_(True)
    by_hand = (FORMULAS[divergence](r) - r * derivative(FORMULAS[divergence], r)).detach()
    gap = divergence.cost(RATIOS.log()) - by_hand
    assert torch.allclose(gap, gap[:1].expand_as(gap), atol=1e-9)
    logit = RATIOS.log().requires_grad_(True)
    assert torch.allclose(derivative(divergence.cost, logit), -divergence.weight(RATIOS), rtol=1e-9)


ROUNDED = (SoftenedReverseKL(), JensenShannon())  # bounded weights, whose variance has no formula
NOISE = {  # Var[h] / E[h]^2 where q = N(0, 1) and p = N(mu, 1): for mu = 1 and mu = 2, to as many digits as are known
    ReverseKL(): (0.0, 0.0),
    SoftenedReverseKL(): (0.112, 0.103),
    JensenShannon(): (0.256, 1.22),
    SquaredHellinger(): (math.expm1(1 / 4), math.expm1(1.0)),
    ForwardKL(): (math.expm1(1.0), math.expm1(4.0)),
    Jeffreys(): (math.expm1(1.0) / 4, math.expm1(4.0) / 4),
    Neyman(): (math.expm1(1.0), math.expm1(4.0)),
    Pearson(): (math.expm1(4.0), math.expm1(16.0)),
    AlphaDivergence(0.3): (math.expm1(0.09), math.expm1(0.36)),
    AlphaDivergence(-0.7): (math.expm1(0.49), math.expm1(1.96)),
}


@pytest.mark.parametrize("divergence", NOISE, ids=str)
@pytest.mark.parametrize("mean", [1, 2])
def test_weights_are_as_noisy_as_known(divergence: Divergence, mean: int):
    """What covers more is ruled by fewer samples: relative variance of h over the student's samples."""
    x = torch.linspace(-24, 24, 9601, dtype=torch.float64)
    q = (-x.square() / 2).exp() / math.sqrt(2 * math.pi)
    h = divergence.weight((mean * x - mean**2 / 2).exp())
    first, second = torch.trapezoid(q * h, x).item(), torch.trapezoid(q * h.square(), x).item()
    known, digits = NOISE[divergence][mean - 1], 5e-3 if divergence in ROUNDED else 1e-9
    assert second / first**2 - 1 == pytest.approx(known, rel=digits, abs=1e-12)


def test_every_divergence_has_its_row():
    kinds = {each for each in vars(divergences).values() if isinstance(each, type) and issubclass(each, Divergence)}
    for table in (FORMULAS, NOISE):
        assert {type(each) for each in table} == kinds - {Divergence}


def test_alpha_family_begins_and_ends_with_the_two_kl():
    assert torch.equal(AlphaDivergence(0.0).weight(RATIOS), ReverseKL().weight(RATIOS))
    assert torch.equal(AlphaDivergence(1.0).weight(RATIOS), ForwardKL().weight(RATIOS))
    assert torch.equal(AlphaDivergence(0.0).cost(RATIOS), ReverseKL().cost(RATIOS))
    assert torch.equal(AlphaDivergence(1.0).cost(RATIOS), ForwardKL().cost(RATIOS))


def on_the_line(divergence: Divergence, a: float, b: float) -> list[float]:
    """The gradient of E_q f(p / q) at time 1 as an integral over x, with f alone: no denoiser, no weight."""
    offset, slope = column(a).requires_grad_(True), column(b).requires_grad_(True)
    x = torch.linspace(-14, 14, 40001, dtype=torch.float64)

    def log_density(mean, std):
        variance = (ALPHA * std) ** 2 + SIGMA**2
        return -((x - ALPHA * mean) ** 2) / (2 * variance) - (2 * math.pi * variance).log() / 2

    p, q = log_density(column(TEACHER[0]), column(TEACHER[1])), log_density(offset, slope)
    value = torch.trapezoid(q.exp() * FORMULAS[divergence]((p - q).exp()), x)
    return [g.item() for g in torch.autograd.grad(value, (offset, slope))]


@ALL
def test_gradient_is_that_of_the_divergence(divergence: Divergence):
    exact = on_the_line(divergence, *G1B)
    assert on_g1(matching(divergence), G1B, 64) == pytest.approx(exact, abs=2e-5)


CARD = {  # d/da and d/db on G1, G1b and G2
    ReverseKL(): ((-1.600000, 0.877672), (-0.492308, -0.061326), (-0.257288, -0.435741)),
    ForwardKL(): ((-0.649189, -0.149626), (-0.553633, -0.191569), (0.033557, -0.793658)),
    JensenShannon(): ((-0.319187, -0.032475), (-0.246684, -0.053795), (-0.077837, -0.227847)),
    SoftenedReverseKL(): ((-1.280813, 0.910147), (-0.245624, -0.007530), (-0.179450, -0.207894)),
    SquaredHellinger(): ((-0.189181, -0.001065), (-0.126833, -0.029020), (-0.035003, -0.129853)),
    Jeffreys(): ((-2.249189, 0.728046), (-1.045941, -0.252894), (-0.223731, -1.229399)),
    Neyman(): (None, (-1.064922, 0.056140), None),
    Pearson(): (None, (-1.641672, -1.035068), None),
}


@pytest.mark.parametrize("divergence", CARD, ids=str)
def test_gradients_are_the_known_numbers(divergence: Divergence):
    first, second, heaps = CARD[divergence]
    assert on_g1(matching(divergence), G1B, 64) == pytest.approx(second, abs=2e-5)
    if first and heaps:
        assert on_g1(matching(divergence), G1A, 64) == pytest.approx(first, abs=2e-5)
        term = DistributionMatching(times=at(0.7), normaliser=KL(), divergence=divergence, ratio=EXACT)
        assert on_g2(term, 100) == pytest.approx(heaps, abs=2e-5)


def test_forward_kl_in_two_dimensions():
    exact = [-0.677569, 0.578620, -0.361191, 0.157766, 0.116344, -0.188022]
    assert on_g3(matching(ForwardKL()), 16) == pytest.approx(exact, abs=2e-5)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [(JensenShannon(), SoftenedReverseKL(), ReverseKL()), (ForwardKL(), ReverseKL(), Jeffreys())],
    ids=str,
)
def test_weights_of_two_divergences_add_up_to_those_of_a_third(one, other, both):
    assert torch.allclose(one.weight(RATIOS) + other.weight(RATIOS), both.weight(RATIOS), rtol=1e-12)
    parts = [on_g1(matching(divergence), G1A, 24) for divergence in (one, other, both)]
    assert [a + b for a, b in zip(*parts[:2], strict=True)] == pytest.approx(parts[2], rel=1e-9)


@ALL
def test_critic_alone_gives_the_gradient_of_the_divergence(divergence: Divergence):
    """Without a fake score: the logit's own gradient in the place of the difference of two scores."""
    term = Adversarial("critic", at(1.0), Logistic(divergence))
    assert on_g1(term, G1B, 64) == pytest.approx(on_g1(matching(divergence), G1B, 64), abs=1e-9)


def test_non_saturating_cost_has_the_known_gradients_of_the_softened_reverse_kl():
    """Nothing but the best critic: LADD at G1, G1b and G2."""
    first, second, heaps = CARD[SoftenedReverseKL()]
    assert on_g1(Adversarial("critic", at(1.0), Softplus()), G1A, 64) == pytest.approx(first, abs=2e-5)
    assert on_g1(Adversarial("critic", at(1.0), Softplus()), G1B, 64) == pytest.approx(second, abs=2e-5)
    assert on_g2(Adversarial("critic", at(0.7), Softplus()), 100) == pytest.approx(heaps, abs=2e-5)


def test_known_gan_costs_are_those_of_divergences():
    logit, real = column(-2.0, 0.3, 4.0), column(0.5, -1.0, 2.0)
    assert torch.equal(Logistic(SoftenedReverseKL()).generator(logit), Softplus().generator(logit))
    assert torch.allclose(Logistic().generator(logit), -(1 + logit.exp()).log(), rtol=1e-12)
    assert torch.equal(Logistic(ReverseKL()).generator(logit), -logit)
    assert torch.equal(Logistic(ForwardKL()).generator(logit), -logit.exp())
    assert torch.equal(Logistic().critic(real, logit), Softplus().critic(real, logit))
