"""Denoising, its weights and its metrics."""

import math

import pytest
import torch
from torch import Tensor

from fewstep.batch import Batch
from fewstep.predict import EDM, Velocity
from fewstep.process import Process, over
from fewstep.terms import L1, L2, Denoise, EDMWeight, Gap, L2Norm, MinSNR, One, PseudoHuber, VelocityWeight
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


@pytest.mark.parametrize("metric", [L1(), L2(), L2Norm(), PseudoHuber()], ids=str)
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
