"""The game against a critic, with the critic that is known to be the best one."""

import math

import pytest
import torch
from matching import alike
from torch import Tensor, nn

from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.errors import RecipeError
from fewstep.guidance import CFG
from fewstep.predict import X0
from fewstep.terms import (
    Adversarial,
    ApproximateR1,
    Clamped,
    Discriminate,
    Hinge,
    LeastSquares,
    Logistic,
    Softplus,
)
from fewstep.testing import Affine, Gaussian, Given, as_network, normal_points, small_views
from fewstep.times import Along, Uniform
from fewstep.training.rollouts import OneStep
from fewstep.turn import Turn
from fewstep.vp import VP

PATH = VP((0.64, 0.0))  # alpha .8, sigma .6 at time 1; pure noise at time 2
MEAN, STD, OFFSET, SLOPE = 1.0, 0.5, 0.6, 0.4  # the testbed G1b: teacher N(1, .5^2), student .6 + .4 z


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def at(time: float) -> Along:
    return Along(Uniform(time, time), 0.0, 1.0)


def views(critic: nn.Module) -> dict[str, Denoiser]:
    student = Affine(column(OFFSET), column(SLOPE)[None])
    return {"student": Denoiser(student, PATH, X0()), "fake_score": Denoiser(critic, PATH, X0())}


def best_critic() -> nn.Module:
    """The logit log p_t / q_t of data over samples."""
    data = Gaussian(PATH, column(MEAN), STD)
    return as_network(data, X0(), against=Gaussian(PATH, column(OFFSET), SLOPE))


def turn_of(me: str, critic: nn.Module, nodes: int = 48) -> tuple[Turn, Tensor]:
    """A turn on quadrature points, with their weights: (z, noise) for the samples, (data, noise) for the data."""
    points, weights = normal_points(nodes, 2)
    z, noise = points[:, :1], points[:, 1:]
    draws = Given([z, noise, noise], [column(0.5), column(0.5)])
    return Turn(me, views(critic), Batch(MEAN + STD * z), draws, OneStep(2.0)), weights


def student_gradient(loss, critic: nn.Module) -> list[float]:
    turn, weights = turn_of("student", critic)
    net = turn.denoiser("student").net
    cost = weights @ Adversarial(times=at(1.0), loss=loss)(turn)
    return [g.item() for g in torch.autograd.grad(cost, (net.offset, net.matrix))]


def test_softplus_with_the_best_critic_is_the_softened_reverse_kl():
    assert student_gradient(Softplus(), best_critic()) == pytest.approx([-0.245624, -0.007530], abs=1e-5)


def test_hinge_with_the_log_ratio_is_the_reverse_kl():
    """Its generator's cost ``-l`` is that of the reverse KL; the best critic under the hinges says less, see below."""
    assert student_gradient(Hinge(), best_critic()) == pytest.approx([-0.492308, -0.061326], abs=1e-6)


class Constant(nn.Module):
    """A critic without an opinion on x."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(logit, dtype=torch.float64))

    def forward(self, x, label, c=None, *, judge=False):
        return self.logit + 0 * x[:, 0]


LOSSES = pytest.mark.parametrize("loss", [Softplus(), Hinge(), LeastSquares(), Clamped(), Logistic()], ids=str)


@LOSSES
@pytest.mark.parametrize("logit", [-3.0, 0.0, 2.0])
def test_constant_critic_gives_no_gradient(loss, logit: float):
    assert student_gradient(loss, Constant(logit)) == [0, 0]


@LOSSES
def test_gradient_points_to_where_the_critic_says_real(loss):
    """A critic that rises with x wants larger samples: descent must raise the offset."""

    class Rising(Constant):
        def forward(self, x, label, c=None, *, judge=False):
            return self.logit * x[:, 0]

    assert student_gradient(loss, Rising(1.0))[0] < 0
    assert student_gradient(loss, Rising(-1.0))[0] > 0


def critic_gradient(shift: float) -> float:
    net = best_critic()
    nn.init.constant_(net.shift, shift)
    turn, weights = turn_of("fake_score", net)
    cost = weights @ Discriminate(times=at(1.0), loss=Softplus())(turn)
    return torch.autograd.grad(cost, net.shift)[0].item()


def test_critic_is_at_rest_at_the_log_ratio_of_data_over_samples():
    assert critic_gradient(0.0) == pytest.approx(0, abs=1e-6)
    assert critic_gradient(0.5) > 0.1
    assert critic_gradient(-0.5) < -0.1


def test_best_critic_costs_the_jensen_shannon_divergence():
    """E softplus(l) + E softplus(-l) = 2 ln 2 - 2 JS; at equal laws it is 2 ln 2."""
    turn, weights = turn_of("fake_score", best_critic())
    cost = (weights @ Discriminate(times=at(1.0))(turn)).item()
    x = torch.linspace(-8, 10, 20001, dtype=torch.float64)[:, None]
    t = column(1.0).expand(len(x))
    p = Gaussian(PATH, column(MEAN), STD).log_density(x, t).exp()
    q = Gaussian(PATH, column(OFFSET), SLOPE).log_density(x, t).exp()
    middle = (p + q) / 2
    divergence = torch.trapezoid((p * (p / middle).log() + q * (q / middle).log()).nan_to_num() / 2, x[:, 0]).item()
    assert cost == pytest.approx(2 * math.log(2) - 2 * divergence, abs=1e-5)
    turn, weights = turn_of("fake_score", Constant(0.0))
    assert (weights @ Discriminate(times=at(1.0))(turn)).item() == pytest.approx(2 * math.log(2))


def test_losses_are_their_formulas():
    real, fake = column(-2.0, 0.3, 4.0), column(1.5, -0.2, -3.0)
    assert torch.allclose(Softplus().generator(fake), (1 + (-fake).exp()).log())
    assert torch.allclose(Softplus().critic(real, fake), (1 + fake.exp()).log() + (1 + (-real).exp()).log())
    assert torch.equal(Hinge().generator(fake), -fake)
    assert torch.equal(Hinge().critic(real, fake), (1 + fake).clamp(min=0) + (1 - real).clamp(min=0))


def densities() -> tuple[Tensor, Tensor, Tensor]:
    """Places x (n, 1) at time 1, and the densities of data and samples there."""
    x = torch.linspace(-4, 6, 2001, dtype=torch.float64)[:, None]
    t = column(1.0).expand(len(x))
    return x, *(Gaussian(PATH, column(m), s).log_density(x, t).exp() for m, s in ((MEAN, STD), (OFFSET, SLOPE)))


def test_best_critic_under_the_hinges_is_the_sign_of_the_difference_of_the_densities():
    """At every place, among all logits; what it costs then is ``2 min(p, q)``."""
    _, p, q = densities()
    logits = torch.linspace(-3, 3, 241, dtype=torch.float64)[:, None]
    silent = torch.ones_like(logits)  # beyond its hinge
    cost = p * Hinge().critic(logits, -silent) + q * Hinge().critic(silent, logits)
    assert torch.allclose(logits[cost.argmin(0), 0], (p - q).sign())
    assert torch.allclose(cost.amin(0), 2 * torch.minimum(p, q), rtol=1e-12)


class Sign(Constant):
    """The best critic under the hinges: +1 where data are denser, -1 where samples are."""

    def __init__(self, sharp: float) -> None:
        super().__init__(sharp)
        self.ratio = best_critic()

    def forward(self, x, label, c=None, *, judge=False):
        ratio = self.ratio(x, label, c, judge=1)
        return ratio.sign() if self.logit.isinf() else (self.logit * ratio).tanh()


def test_best_critic_under_the_hinges_knows_the_total_variation_and_teaches_nothing():
    """It costs 2 less the integral of ``|p - q|``, and is flat but for two places; one that is less sharp is not."""
    x, p, q = densities()
    fake, real = (alike(4000, 0.8 * std, 0.6) for std in (SLOPE, STD))
    draws = Given([fake[:, :1], fake[:, 1:], real[:, 1:]], [column(0.5)] * 2)
    turn = Turn("fake_score", views(Sign(math.inf)), Batch(MEAN + STD * real[:, :1]), draws, OneStep(2.0))
    cost = Discriminate(times=at(1.0), loss=Hinge())(turn).mean().item()
    assert cost == pytest.approx(2 - torch.trapezoid((p - q).abs(), x[:, 0]).item(), abs=1e-3)
    assert student_gradient(Hinge(), Sign(math.inf)) == [0, 0]
    assert student_gradient(Hinge(), Sign(2.0))[0] < -0.01


class Linear(Constant):
    """A critic with the same slope in each coordinate."""

    def forward(self, x, label, c=None, *, judge=False):
        return self.logit * x.sum(1)


@pytest.mark.parametrize(("slope", "noise"), [(3.0, 0.1), (-0.7, 0.02)])
def test_approximate_r1_is_r1_where_the_logit_is_linear(slope: float, noise: float):
    """On average over the noise ``(alpha noise)^2 ||grad l||^2``, wherever the data are."""
    points, weights = normal_points(4, 2)
    draws = Given([torch.ones_like(points), points], [column(0.5)])
    turn = Turn("fake_score", views(Linear(slope)), Batch(5 * torch.ones_like(points)), draws, OneStep(2.0))
    cost = weights @ ApproximateR1(at(1.0), noise)(turn)
    assert cost.item() == pytest.approx((0.8 * noise * slope) ** 2 * 2, rel=1e-12)


def test_approximate_r1_judges_the_data_of_the_same_turn_and_asks_nothing_of_a_critic_without_slope():
    turn, weights = turn_of("fake_score", Constant(2.0), nodes=2)
    data = turn.noised("data", at(1.0), "adversarial")
    assert (weights @ ApproximateR1(at(1.0))(turn)).item() == 0
    assert turn.noised("data", at(1.0), "adversarial") is data


def test_accuracy_is_noted_for_the_reader():
    turn, _ = turn_of("fake_score", Constant(1.0))
    Discriminate(times=at(1.0))(turn)
    assert turn.notes["critic accuracy"] == 0.5


def test_both_sides_of_a_turn_judge_the_same_noised_samples():
    turn, _ = turn_of("fake_score", best_critic(), nodes=2)
    first = turn.noised("samples", at(1.0), "adversarial")
    Adversarial(times=at(1.0))(turn)
    Discriminate(times=at(1.0))(turn)
    assert turn.noised("samples", at(1.0), "adversarial") is first
    assert turn.draws.left == 0


@pytest.mark.parametrize(("me", "term"), [("student", Adversarial()), ("fake_score", Discriminate())], ids=str)
def test_gradient_reaches_the_learner_whose_turn_it_is_and_nobody_else(me: str, term):
    """In its own turn each side learns; the other, frozen, only passes the gradient on."""
    nets = small_views(PATH)
    for name, view in nets.items():
        view.net.requires_grad_(name == me)
    x0, *z = torch.randn(4, 8, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turn = Turn(me, nets, Batch(x0), Given(z, [column(0.3), column(0.6)]), OneStep(2.0))
    term(turn).mean().backward()
    assert turn.samples.x0.requires_grad == (me == "student")
    touched = {name for name, view in nets.items() if any(p.grad is not None for p in view.net.parameters())}
    assert touched == {me}


def test_guided_network_cannot_be_a_critic():
    nets = small_views(PATH)
    turn = Turn(
        "student", {**nets, "fake_score": CFG(2.0)(nets["teacher"])}, Batch(column(0.0)[:, None]), Given(), OneStep(2.0)
    )
    with pytest.raises(RecipeError, match="guided network, where a bare one is needed: as a critic"):
        turn.critic("fake_score")
