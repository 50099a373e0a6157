"""The game against several heads, the losses of ADD, UFOGen and ADC-GAN, and where they ask."""

import math

import pytest
import torch
from matching import G1, G1A, TEACHER, at, column, normal, on_g1
from torch import nn

from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.errors import RecipeError
from fewstep.predict import X0
from fewstep.process import EDM
from fewstep.terms import (
    Adversarial,
    ApproximateR1,
    Clamped,
    Classes,
    Discriminate,
    DistributionMatching,
    GanLoss,
    Hinge,
    LeastSquares,
    Plain,
    Signal,
    Softplus,
)
from fewstep.testing import PATHS, Affine, Given, normal_points
from fewstep.times import Along, Next, Rectified, Trailing
from fewstep.training import FromData, OneStep
from fewstep.turn import Turn


class Says(nn.Module):
    """A critic of two heads, one with a single place, one with three: multiples of x there."""

    def __init__(self, slope: float = 1.0) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope, dtype=torch.float64))

    def forward(self, x, label, c=None, *, judge=0):
        return [self.slope * x[:, :1], self.slope * x * torch.tensor([-1.0, 2.0, 4.0]).double()]


def turn_of(me: str, critic: nn.Module, dims: int = 1, rollout=None, **batch) -> Turn:
    points = torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None]
    draws = Given([points, 0.3 * points, -points], [column(0.5)] * 3)
    views = {
        "student": Denoiser(Affine(column(0.6), column(0.4)[None]), G1, X0()),
        "fake_score": Denoiser(critic, G1, X0()),
    }
    return Turn(me, views, Batch(1 + points, **batch), draws, rollout or OneStep(2.0))


LOSSES = pytest.mark.parametrize("loss", [Softplus(), Hinge(), LeastSquares(), Clamped()], ids=str)


@LOSSES
def test_every_place_of_every_head_costs_for_itself(loss: GanLoss):
    turn = turn_of("fake_score", Says())
    fake, real = (turn.noised(on, at(1.0), "adversarial").x for on in ("samples", "data"))
    slopes = torch.tensor([-1.0, 2.0, 4.0]).double()
    many = loss.critic(real * slopes, fake * slopes).mean(1)
    assert torch.allclose(Discriminate(at(1.0), loss)(turn), (loss.critic(real, fake)[:, 0] + many) / 2)
    mean = (fake[:, 0] + (fake * slopes).mean(1)) / 2
    cost = Adversarial(times=at(1.0), loss=loss)(turn)
    assert torch.allclose(cost, (loss.generator(fake)[:, 0] + loss.generator(fake * slopes).mean(1)) / 2)
    assert torch.allclose(cost, loss.generator(mean)) == isinstance(loss, Hinge)  # whose generator is linear
    assert torch.allclose(turn.critic("fake_score")(fake, turn.noised("samples", at(1.0), "adversarial").t), mean)


@pytest.mark.parametrize(
    ("loss", "cost"), [(Hinge(), 2), (Softplus(), 2 * math.log(2)), (Clamped(), 2 * math.log(2))], ids=str
)
def test_heads_at_zero_cost_what_guessing_costs(loss: GanLoss, cost: float):
    turn = turn_of("fake_score", Says(0.0))
    found = Discriminate(at(1.0), loss)(turn)
    assert torch.allclose(found, torch.full_like(found, cost))
    assert turn.notes["critic gap"] == pytest.approx(0, abs=1e-9)


@LOSSES
def test_guess_is_the_least_that_a_constant_logit_costs_at_equal_laws(loss: GanLoss):
    """Laws that are one give every item the same odds, so the best logit is a constant; there its verdict is 0."""
    logits = torch.linspace(-3, 3, 6001, dtype=torch.float64)
    cost = loss.critic(logits, logits)
    assert cost.min().item() == pytest.approx(loss.guess, abs=1e-12)
    assert cost[loss.verdict(logits).abs().argmin()].item() == pytest.approx(loss.guess, abs=1e-12)


@LOSSES
def test_gap_is_what_the_critic_saves_by_its_cost(loss: GanLoss):
    turn = turn_of("fake_score", Says())
    cost = Discriminate(at(1.0), loss)(turn)
    assert turn.notes["critic gap"] == pytest.approx(loss.guess - cost.mean().item())


def test_accuracy_of_least_squares_is_by_the_middle_of_its_aims():
    """Data at 0.9 and samples at 0.1 are told apart, though all are above 0."""

    class Right(Says):
        def forward(self, x, label, c=None, *, judge=0):
            return [torch.where(x[:, :1] > 0, 0.9, 0.1).double() * self.slope]

    turn = turn_of("fake_score", Right())
    turn.batch = Batch(column(50.0, 50.0)[:, None])
    turn.draws = Given([column(-99.0, -99.0)[:, None]] * 2 + [column(0.0, 0.0)[:, None]], [column(0.5)] * 3)
    Discriminate(at(1.0), LeastSquares())(turn)
    assert turn.notes["critic accuracy"] == 1
    assert turn.notes["critic logit"] == pytest.approx(0.4)
    assert turn.notes["critic gap"] == pytest.approx(0.5 - 0.02)
    assert "critic ratio" not in turn.notes


@pytest.mark.parametrize("limit", [0.0, -0.5, math.nan])
def test_a_clamp_that_leaves_no_logit_is_refused(limit: float):
    with pytest.raises(RecipeError, match="accepted is a limit above 0"):
        Clamped(limit)


def test_beyond_the_clamp_there_is_exactly_no_gradient():
    logits = column(-3.0, -0.6, 0.6, 3.0).requires_grad_()
    zero = column(0.0).expand(4)

    def gradient(cost):
        return torch.autograd.grad(cost.sum(), logits)[0].tolist()

    assert [g == 0 for g in gradient(Clamped().generator(logits))] == [False, False, True, True]
    assert [g == 0 for g in gradient(Clamped().critic(zero, logits))] == [True, True, False, False]
    assert [g == 0 for g in gradient(Clamped().critic(logits, zero))] == [False, False, True, True]
    inside = column(-0.4, 0.0, 0.4)
    assert torch.equal(Clamped().generator(inside), Softplus().generator(inside))
    assert torch.equal(Clamped().critic(inside, -inside), Softplus().critic(inside, -inside))


def test_a_turn_asks_the_critic_once_for_all_its_terms():
    class Counting(Says):
        asked = 0

        def forward(self, x, label, c=None, *, judge=0):
            self.asked += 1
            return super().forward(x, label, c, judge=judge)

    critic = Counting()
    turn = turn_of("fake_score", critic)
    Discriminate(at(1.0), Hinge())(turn), Discriminate(at(1.0), Softplus())(turn)
    assert critic.asked == 2
    with torch.no_grad():
        Discriminate(at(1.0), Hinge())(turn)
    assert Discriminate(at(1.0), Hinge())(turn).requires_grad
    assert critic.asked == 4


def test_approximate_r1_is_the_mean_over_heads_and_places():
    turn = turn_of("fake_score", Says(2.0))
    turn.draws = Given([0 * column(1.0)[:, None], column(1.0)[:, None]], [column(0.5)])
    step = 0.8 * 0.1 * 2.0
    cost = ApproximateR1(at(1.0))(turn)
    assert torch.allclose(cost, torch.full_like(cost, step**2 * (1 + (1 + 4 + 16) / 3) / 2))


# --- UFOGen: one step of N below the call


@pytest.mark.parametrize("schedule", [Rectified(20.0), Trailing(8.0, 3.0)], ids=str)
def test_next_is_one_even_step_down_the_schedule(schedule):
    places = torch.tensor([1.0, 0.8, 0.5, 0.25, 0.1], dtype=torch.float64)
    found = Next(schedule, 4).after(EDM(), places, lambda: schedule.at(places))
    assert torch.allclose(found, schedule.at((places - 0.25).clamp_min(0)), atol=1e-9)
    points = schedule.steps(4)
    assert torch.allclose(Next(schedule, 4).after(EDM(), places[:4], lambda: points[:4]), points[1:], atol=1e-9)


def test_next_needs_a_call():
    with pytest.raises(RecipeError, match="the law 'next' follows the call that made a sample"):
        Next(Rectified(20.0)).times(EDM(), column(0.5))


def test_real_and_generated_items_meet_the_critic_at_the_students_next_time_with_noises_of_their_own():
    """On data at one point, which the student finds, both have the same law."""
    path, point = PATHS["linear"], torch.full((4, 1), 0.7, dtype=torch.float64)
    student = Denoiser(Affine(column(0.7), 0 * column(1.0)[None]), path, X0())
    z = torch.randn(3, 4, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    critic = Denoiser(Says(0.0), path, X0())
    law = Next(Trailing(1.0), 4)
    u = column(0.3, 0.5, 0.9, 1.0)
    rollout = FromData(Along(Trailing(1.0), 0.0, 1.0))
    draws = Given(list(z), [column(0.1), u, column(0.2)])
    turn = Turn("fake_score", {"student": student, "fake_score": critic}, Batch(point), draws, rollout)
    Discriminate(law, Clamped())(turn)
    fake, real = turn.noised("samples", law, "adversarial"), turn.noised("data", law, "adversarial")
    s = (u - 0.25)[:, None]
    assert torch.allclose(fake.t, s[:, 0], atol=1e-9)
    assert torch.equal(fake.t, real.t)
    assert torch.allclose(fake.x, (1 - s) * 0.7 + s * z[1], atol=1e-9)
    assert torch.allclose(real.x, (1 - s) * 0.7 + s * z[2], atol=1e-9)


@pytest.mark.parametrize(("found", "rests"), [(0.7, True), (0.4, False)])
def test_guessing_is_best_on_data_at_one_point_once_the_student_has_found_it(found: float, rests: bool):
    """Every logit 0: the critic is at rest exactly there, it costs ``2 ln 2``, and the student has nothing to learn."""
    path, (points, weights) = PATHS["linear"], normal_points(4, 2)
    student = Denoiser(Affine(column(found), 0 * column(1.0)[None]), path, X0())
    critic, law = Says(0.0), Next(Trailing(1.0), 4)
    draws = Given([points[:, :1], points[:, :1], points[:, 1:]], [column(0.1), column(0.7), column(0.2)])
    views = {"student": student, "fake_score": Denoiser(critic, path, X0())}
    batch, rollout = Batch(column(0.7).expand(16, 1)), FromData(Along(Trailing(1.0), 0.0, 1.0))
    turn = Turn("fake_score", views, batch, draws, rollout)
    cost = weights @ Discriminate(law, Clamped())(turn)
    assert cost.item() == pytest.approx(2 * math.log(2))
    assert (abs(torch.autograd.grad(cost, critic.slope)[0].item()) < 1e-12) == rests
    pull = torch.autograd.grad((weights @ Adversarial(times=law, loss=Clamped())(turn)), student.net.offset)[0]
    assert pull.item() == 0


# --- ADD: the pull of the teacher


@pytest.mark.parametrize(("normaliser", "c"), [(Plain(), 1.0), (Signal(), 0.8)], ids=str)
def test_the_pull_of_the_teacher_is_towards_its_mean(normaliser, c: float):
    """``E grad = c (1 - k) (x - m)``, half of that of ``c || x - D ||^2``: students collapse on the mean m."""
    (mean, std), (a, b) = TEACHER, G1A
    k = 0.64 * std**2 / (0.64 * std**2 + 0.36)
    term = DistributionMatching(fake=None, normaliser=normaliser, times=at(1.0))
    found = on_g1(term, views={"teacher": normal(G1, *TEACHER)})
    assert found == pytest.approx([c * (1 - k) * (a - mean), c * (1 - k) * b], abs=1e-9)
    assert term.networks() == ("teacher",)


def test_the_pull_of_the_teacher_alone_ends_on_its_mean():
    """Without an adversary, or with one that counts for nothing beside it, every noise becomes the mean."""
    term, student = DistributionMatching(fake=None, normaliser=Signal(), times=at(1.0)), G1A
    for _ in range(60):
        slopes = on_g1(term, student, views={"teacher": normal(G1, *TEACHER)})
        student = tuple(each - slope for each, slope in zip(student, slopes, strict=True))
    assert student == pytest.approx((TEACHER[0], 0.0), abs=1e-6)


# --- ADC-GAN: the law of items and classes together


MEANS, STDS = (1.0, -0.5), (0.5, 0.8)


class BestClassifier(nn.Module):
    """Knows the four densities at time 1, plus a shift of what it knows of data."""

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(shift, dtype=torch.float64))

    def forward(self, x, label, c=None, *, judge=0):
        t = column(1.0).expand(len(x))
        data = [normal(G1, m, s).log_density(x, t) + self.shift for m, s in zip(MEANS, STDS, strict=True)]
        logs = torch.stack([*data, *[normal(G1, *G1A).log_density(x, t)] * 2], 1).log_softmax(1)
        return [logs.gather(1, torch.stack([c, c + 2], 1))[:, None]]


def both_classes(me: str, critic: nn.Module):
    """The same quadrature points for both classes, each with half of the weight."""
    points, weights = normal_points(30, 2)
    points, weights = points.repeat(2, 1), weights.repeat(2) / 2
    c = torch.arange(2).repeat_interleave(len(points) // 2)
    z, noise = points[:, :1], points[:, 1:]
    data = torch.tensor(MEANS).double()[c][:, None] + torch.tensor(STDS).double()[c][:, None] * z
    net = Affine(column(G1A[0]), column(G1A[1])[None])
    views = {"student": Denoiser(net, G1, X0()), "fake_score": Denoiser(critic, G1, X0())}
    turn = Turn(me, views, Batch(data, c), Given([z, noise, noise], [column(0.5)] * 2), OneStep(2.0))
    return turn, weights, net


def test_with_the_best_classifier_the_gradient_is_that_of_the_reverse_kl_of_the_joint_law():
    turn, weights, net = both_classes("student", BestClassifier())
    cost = weights @ Adversarial(times=at(1.0), loss=Classes())(turn)
    found = [g.item() for g in torch.autograd.grad(cost, (net.offset, net.matrix))]
    a, b = G1A
    laws = [(m, 0.64 * s**2 + 0.36) for m, s in zip(MEANS, STDS, strict=True)]
    q = 0.64 * b**2 + 0.36
    da = sum(0.64 * (a - m) / v for m, v in laws) / 2
    db = sum(0.64 * b * (1 / v - 1 / q) for _, v in laws) / 2
    assert found == pytest.approx([da, db], abs=1e-9)


def test_the_best_classifier_is_at_rest():
    def gradient(shift: float) -> float:
        turn, weights, _ = both_classes("fake_score", critic := BestClassifier(shift))
        cost = weights @ Discriminate(at(1.0), Classes())(turn)
        return torch.autograd.grad(cost, critic.shift)[0].item()

    assert gradient(0.0) == pytest.approx(0, abs=1e-4)
    assert gradient(0.5) > 0.05
    assert gradient(-0.5) < -0.05


@pytest.mark.parametrize("shift", [0.0, 60.0])
def test_a_classifier_notes_how_sure_it_is_that_an_item_of_its_class_is_data(shift: float):
    turn, _, _ = both_classes("fake_score", BestClassifier(shift))
    Discriminate(at(1.0), Classes())(turn)
    real, fake = (turn.noised(on, at(1.0), "adversarial") for on in ("data", "samples"))
    odds = [
        torch.stack([normal(G1, m, s).log_density(x.x, x.t) for m, s in zip(MEANS, STDS, strict=True)], 1)
        .gather(1, turn.c[:, None])[:, 0]
        .sub(normal(G1, *G1A).log_density(x.x, x.t))
        .add(shift)
        for x in (real, fake)
    ]
    size = (odds[0].abs().mean() + odds[1].abs().mean()) / 2
    right = ((odds[0] > 0).double().mean() + (odds[1] < 0).double().mean()) / 2
    assert turn.notes["class critic logit"] == pytest.approx(size.item())
    assert turn.notes["class critic accuracy"] == pytest.approx(right.item())
    assert "class critic gap" not in turn.notes


def test_log_odds_of_the_best_classifier_are_those_of_the_joint_law():
    """So the ratio of its samples is 1 on average."""
    turn, weights, _ = both_classes("fake_score", BestClassifier())
    said = turn.judged("", turn.noised("samples", at(1.0), "adversarial"))[0]
    assert (weights @ Classes().verdict(said)[:, 0].exp()).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("critic", "loss"), [(Says(), Classes()), (BestClassifier(), Hinge())], ids=["says", "best"])
def test_a_loss_for_heads_that_there_are_not_is_refused(critic: nn.Module, loss: GanLoss):
    turn = turn_of("fake_score", critic, c=torch.zeros(5, dtype=torch.long))
    with pytest.raises(RecipeError, match=rf"the loss {type(loss).__name__} is for heads that the critic lacks"):
        Discriminate(at(1.0), loss)(turn)
