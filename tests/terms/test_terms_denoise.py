"""Denoising, its weights and its metrics."""

import math

import pytest
import torch
from torch import Tensor

from fewstep.batch import Batch
from fewstep.guidance import CFG
from fewstep.points import Doubling
from fewstep.predict import EDM, Velocity
from fewstep.process import Process, over
from fewstep.scalars import Piecewise, Progress
from fewstep.terms import (
    L1,
    L2,
    Cauchy,
    DataShare,
    Denoise,
    EDMWeight,
    Gap,
    Huber,
    Imitate,
    L2Norm,
    MinSNR,
    One,
    PseudoHuber,
    SignalStep,
    SNRPlusOne,
    Term,
    TruncatedSNR,
    VelocityWeight,
    Within,
)
from fewstep.testing import PATHS, Classes, Counted, Gaussian, Given, Mixture, normal_points
from fewstep.times import Along, Uniform
from fewstep.training.rollouts import OneStep
from fewstep.turn import Turn

paths = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
U = torch.tensor([0.5], dtype=torch.float64)


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def at(path: Process, share: float) -> Along:
    """The law that always draws one time, a share of the clock."""
    return Along(Uniform(share * path.t_max, share * path.t_max), 0.0, 1.0)


def expected(term: Denoise, student, x0: Tensor, weights: Tensor, nodes: int = 24) -> Tensor:
    """Return the expected cost over the data points ``x0`` (n, 1) with their weights, and over all noise."""
    z, more = normal_points(nodes)
    data, noise = x0.repeat_interleave(nodes, 0), z.repeat(len(x0), 1)
    turn = Turn("student", {"student": student}, Batch(data), Given([noise], [U]), OneStep(student.process.t_max))
    return torch.outer(weights, more).flatten() @ term(turn)


def data_of(mixture: Mixture, nodes: int = 24) -> tuple[Tensor, Tensor]:
    """Quadrature points and weights of the data of a mixture in one dimension."""
    z, weights = normal_points(nodes)
    x0 = (mixture.means + mixture.stds[:, None] * z[:, 0]).reshape(-1, 1)
    return x0, torch.outer(mixture.weights, weights).flatten()


class Wavy:
    """A denoiser plus a combination of waves."""

    def __init__(self, inner, theta: Tensor) -> None:
        self.inner, self.theta, self.process = inner, theta, inner.process

    def __call__(self, x, t, c=None, s=None):
        scale = over(self.process.alpha(t) + self.process.sigma(t), x)
        waves = torch.stack([torch.ones_like(x), x / scale, torch.sin(x / scale), torch.cos(2 * x / scale)])
        return self.inner(x, t) + (self.theta[:, None, None] * waves).sum(0)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("name", ["linear", "trigflow", "vp scaled"])
def test_posterior_mean_is_the_minimiser(name: str, share: float):
    path = PATHS[name]
    world = Mixture(path, column(0.3, 0.7), column(-0.5, 0.4)[:, None], column(0.5, 0.6))
    x0, weights = data_of(world)
    for theta, flat in ((column(0, 0, 0, 0), True), (column(0.05, 0, 0, 0), False), (column(0, 0, 0, 0.05), False)):
        theta.requires_grad_(True)
        cost = expected(Denoise(times=at(path, share)), Wavy(world, theta), x0, weights)
        slope = torch.autograd.grad(cost, theta)[0].abs().max().item()
        assert slope < 1e-5 if flat else slope > 1e-2


@paths
@pytest.mark.parametrize("share", [0.02, 0.4, 0.95])
def test_edm_weight_makes_unit_loss_of_a_silent_network(path: Process, share: float):
    """F = 0 under EDM preconditioning costs exactly 1 at every time, for data of deviation sigma_data."""

    class Silent:
        process = path

        def __call__(self, x, t, c=None, s=None):
            return EDM().x0(path, torch.zeros_like(x), x, t)

    z, weights = normal_points(3)
    cost = expected(Denoise(times=at(path, share)), Silent(), path.sigma_data * z, weights, nodes=3)
    assert cost.item() == pytest.approx(1, rel=1e-9)


@paths
def test_velocity_weight_makes_the_squared_error_of_the_velocity(path: Process):
    """The cost on x0 equals mean (F - (z - x0))^2 of the same network read as a velocity."""
    student = Gaussian(path, torch.zeros(3, dtype=torch.float64), 0.9)
    x0, z = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    term = Denoise(times=at(path, 0.6), weight=VelocityWeight())
    cost = term(Turn("student", {"student": student}, Batch(x0), Given([z], [U]), OneStep(1.0)))
    t = torch.full((7,), 0.6 * path.t_max, dtype=torch.float64)
    x = path.noise(x0, z, t)
    error = Velocity().output(path, student(x, t), x, t) - (z - x0)
    assert torch.allclose(cost, error.square().mean(1), rtol=1e-8)


@paths
def test_weights_are_their_formulas(path: Process):
    t = path.t_max * torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    r, snr = 0.8 * t, (path.alpha(t) / path.sigma(t)) ** 2
    assert torch.equal(One()(path, t, r), torch.ones_like(t))
    noise, data = 1 / snr.sqrt(), path.sigma_data
    assert torch.allclose(EDMWeight()(path, t, r), (noise**2 + data**2) / (noise * data) ** 2, rtol=1e-9)
    assert torch.allclose(MinSNR(5.0)(path, t, r), snr.clamp(max=5), rtol=1e-9)
    assert torch.allclose(Gap(0.5)(path, t, r), (t - r).rsqrt(), rtol=1e-9)
    assert (MinSNR(2.0)(path, t, r) <= 2).all()
    assert torch.allclose(SNRPlusOne()(path, t, r), snr + 1, rtol=1e-9)
    assert torch.allclose(TruncatedSNR()(path, t, r), snr.clamp(min=1), rtol=1e-9)
    assert torch.equal(DataShare()(path, t, r), path.alpha(t))
    gain = path.alpha(r) - path.alpha(t) * path.sigma(r) / path.sigma(t)  # of the estimate in a DDIM step
    assert torch.allclose(SignalStep()(path, t, r), gain**-2, rtol=1e-7)
    inside = (t >= 0.3 * path.t_max) & (t <= 0.7 * path.t_max)
    found = Within(0.3 * path.t_max, 0.7 * path.t_max, SNRPlusOne())(path, t, r)
    assert torch.equal(found, torch.where(inside, SNRPlusOne()(path, t, r), 0.0))


@paths
def test_truncated_snr_is_the_larger_error_of_data_and_noise(path: Process):
    """max(||x0 - D||^2, ||z - eps||^2): the same D, seen from both sides."""
    t = path.t_max * torch.linspace(0.05, 0.95, 9, dtype=torch.float64)
    x, x0, other = torch.randn(3, 9, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    error = (x0 - other).square().mean(1)
    noise = (path.eps(x, x0, t) - path.eps(x, other, t)).square().mean(1)
    assert torch.allclose(TruncatedSNR()(path, t, t) * error, torch.maximum(error, noise), rtol=1e-8)


def test_on_samples_what_the_student_made_is_denoised():
    world, z = Gaussian(PATHS["edm"], column(0.3), 0.5), column(0.1, -0.4)[:, None]
    term = Denoise(on="samples", times=at(world.process, 0.01))
    views = {"fake_score": Counted(world), "student": world}
    turn = Turn("fake_score", views, Batch(z + 100), Given([z, 0 * z], [U]), OneStep(80.0))
    term(turn)
    x, t, _, _ = views["fake_score"].asked[0]
    assert torch.equal(x, world(80 * z, torch.full((2,), 80.0, dtype=torch.float64)))
    assert t.tolist() == pytest.approx([0.8, 0.8])


def test_drop_empties_the_chosen_share_of_conditions():
    world = Counted(Classes(PATHS["edm"], column(-1.0, 2.0, 0.5)[:, None], 0.4))
    c, z = torch.tensor([0, 1, 1, 0]), column(0.1, 0.2, 0.3, 0.4)[:, None]
    uniforms = [U, column(0.05, 0.15, 0.11, 0.01)]
    turn = Turn("student", {"student": world}, Batch(z, c), Given([z], uniforms), OneStep(80.0))
    Denoise(drop=0.1)(turn)
    assert world.asked[0][2].tolist() == [-1, 1, 1, -1]


def pair() -> tuple[Tensor, Tensor]:
    return torch.randn(2, 5, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_metrics_are_their_formulas():
    a, b = pair()
    d = (a - b).flatten(1)
    knee = 0.1 * math.sqrt(6)
    assert torch.allclose(L2()(a, b), d.square().mean(1))
    assert torch.allclose(L1()(a, b), d.abs().mean(1))
    assert torch.allclose(L2Norm()(a, b), d.norm(dim=1))
    assert torch.allclose(PseudoHuber(0.1)(a, b), (d.square().sum(1) + knee**2).sqrt() - knee)
    assert torch.allclose(Huber(0.1)(a, b), ((d.square() + 0.01).sqrt() - 0.1).mean(1))
    assert torch.allclose(Cauchy(0.1)(a, b), (1 + d.square().mean(1) / 0.02).log())


@pytest.mark.parametrize("metric", [L1(), L2(), L2Norm(), PseudoHuber(), Huber(), Cauchy()], ids=str)
def test_metric_is_symmetric_and_0_with_a_finite_gradient_at_equality(metric):
    a, b = pair()
    assert torch.allclose(metric(a, b), metric(b, a))
    a.requires_grad_(True)
    cost = metric(a, a.detach())
    assert cost.max() <= 1e-8
    assert torch.autograd.grad(cost.sum(), a)[0].abs().max() == 0


def test_pseudo_huber_has_the_published_knee_and_both_limits():
    """C = 0.0299 for 3 x 32 x 32 and 0.0599 for 3 x 64 x 64; square below, norm above."""
    for size, knee in ((32, 0.0299), (64, 0.0599)):
        zero = torch.zeros(1, 3, size, size, dtype=torch.float64)
        small, large = zero.clone(), zero.clone()
        small[0, 0, 0, 0], large[0, 0, 0, 0] = 1e-4, 1e3
        assert PseudoHuber()(small, zero).item() == pytest.approx(1e-8 / (2 * knee), rel=2e-3)
        assert 1e3 - PseudoHuber()(large, zero).item() == pytest.approx(knee, abs=5e-5)


def test_huber_is_square_below_its_knee_and_absolute_above():
    small, large, none = column(1e-6)[:, None], column(1e3)[:, None], column(0.0)[:, None]
    assert Huber(0.001)(small, none).item() == pytest.approx(1e-12 / 0.002, rel=1e-4)
    assert 1e3 - Huber(0.001)(large, none).item() == pytest.approx(0.001, rel=1e-3)


def test_cauchy_is_square_for_small_errors_and_pulls_most_at_sqrt_2_c():
    """sLCT: m / (2 c^2) as m -> 0; |d rho / d sqrt(m)| has its peak 1 / (sqrt2 c) at sqrt(m) = sqrt2 c."""
    c = 0.03
    small, none = torch.full((1, 4), 1e-6, dtype=torch.float64), torch.zeros(1, 4, dtype=torch.float64)
    assert Cauchy(c)(small, none).item() == pytest.approx(1e-12 / (2 * c * c), rel=1e-6)
    root = torch.linspace(1e-3, 0.3, 3000, dtype=torch.float64).requires_grad_(True)
    pull = torch.autograd.grad(Cauchy(c)(root[:, None], 0 * root[:, None]).sum(), root)[0]
    assert root[pull.argmax()].item() == pytest.approx(math.sqrt(2) * c, abs=1e-4)
    assert pull.max().item() == pytest.approx(1 / (math.sqrt(2) * c), rel=1e-5)
    assert pull[-1] < 0.4 * pull.max()  # an outlier pulls less


@pytest.mark.parametrize("metric", [PseudoHuber, Huber, Cauchy])
def test_constant_of_a_metric_may_change_while_training(metric):
    a, b = pair()
    moving = metric(Piecewise(((0.0, 1.0), (1.0, 0.1))))
    for update, c in ((0, 1.0), (5, 0.55), (10, 0.1)):
        assert torch.allclose(moving(a, b, Progress(update, 10)), metric(c)(a, b), rtol=1e-12)


def test_a_schedule_of_c_follows_the_curriculum_of_slct():
    """c(N) = exp(-1.15 ln(N - 1) - 0.85), from the second stage on; steps at the same updates as those of N."""
    rule, first = Doubling(10, 640), 0.0346
    values = [first, *(math.exp(-1.15 * math.log(10 * 2**stage) - 0.85) for stage in range(1, 7))]
    published = [0.0346, 0.01364, 0.00614, 0.00277, 0.00125, 0.00056, 0.00025]
    assert [round(value, 5) for value in values] == published
    ends = [(stage / 7, stage) for stage in range(1, 7)]
    steps = [point for place, stage in ends for point in ((place, values[stage - 1]), (place, values[stage]))]
    schedule = Piecewise(((0.0, first), *steps, (1.0, values[-1])))
    for update in range(1401):
        now = Progress(update, 1400)
        stage = int(math.log2((rule.at(now) - 1) / 10))
        assert schedule.at(now) == pytest.approx(values[stage], rel=1e-12)
    assert first == pytest.approx(0.00054 * math.sqrt(4 * 32 * 32), abs=5e-5)


class Straight:
    """The denoiser ``offset + slope x``, whatever the time."""

    def __init__(self, path: Process, offset: Tensor, slope: Tensor) -> None:
        self.process, self.offset, self.slope = path, offset, slope

    def __call__(self, x, t, c=None, s=None):
        return self.offset + self.slope * x


@pytest.mark.parametrize("share", [0.2, 0.7])
@pytest.mark.parametrize("name", ["edm", "linear", "vp scaled"])
def test_a_student_of_a_teacher_lands_on_the_teacher_whatever_the_data(name: str, share: float):
    """The minimiser over affine denoisers is D_p, though the data are not those of p; without a teacher it is not."""
    path, t = PATHS[name], torch.tensor([share * PATHS[name].t_max], dtype=torch.float64)
    teacher, zero = Gaussian(path, column(1.0), 0.5), torch.zeros(1, 1, dtype=torch.float64)
    offset = teacher(zero, t)[0].requires_grad_()
    slope = (teacher(zero + 1, t) - teacher(zero, t))[0].detach().requires_grad_()
    z, weights = normal_points(4)

    def slopes(term: Term) -> tuple[float, float]:
        views = {"student": Straight(path, offset, slope), "teacher": teacher}
        data, noise = (3 * z - 2).repeat_interleave(4, 0), z.repeat(4, 1)
        turn = Turn("student", views, Batch(data), Given([noise], [U]), OneStep(path.t_max))
        cost = torch.outer(weights, weights).flatten() @ term(turn)
        grads = torch.autograd.grad(cost, (offset, slope))
        return cost.item(), max(each.abs().item() for each in grads)

    assert max(slopes(Imitate(times=at(path, share)))) < 1e-10
    assert min(slopes(Denoise(times=at(path, share)))) > 1e-2


def test_a_guided_teacher_is_aimed_at_under_its_guidance():
    path, means = PATHS["edm"], torch.stack([column(1.0), column(-1.0), column(0.2)])
    world, c = Classes(path, means, 0.5), torch.tensor([0, 1, -1])
    wanted = Gaussian(path, means[-1] + 3.0 * (means[c] - means[-1]), 0.5)
    x0, z = torch.randn(2, 3, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    term = Imitate("guided", times=at(path, 0.01))
    assert term.networks() == ("guided",)
    for student, ends in ((wanted, 0.0), (world, 0.1)):
        views = {"student": student, "guided": CFG(3.0)(world)}
        cost = term(Turn("student", views, Batch(x0, c), Given([z], [U]), OneStep(80.0)))
        assert cost[2] < 1e-12
        assert (cost[:2] > ends).all() if ends else (cost < 1e-12).all()


def test_what_the_student_is_not_told_the_teacher_is_not_told_either():
    path, means = PATHS["edm"], torch.stack([column(1.0), column(-1.0), column(0.2)])
    student, teacher = (Counted(Classes(path, means, 0.5)) for _ in range(2))
    batch, draws = (
        Batch(column(0.0, 0.0)[:, None], torch.tensor([0, 1])),
        Given([torch.zeros(2, 1)], [U, column(0.05, 0.5)]),
    )
    turn = Turn("student", {"student": student, "teacher": teacher}, batch, draws, OneStep(80.0))
    Imitate(times=at(path, 0.1), drop=0.1)(turn)
    for each in (student, teacher):
        assert each.asked[0][2].tolist() == [-1, 1]
