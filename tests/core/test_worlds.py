"""The exact worlds against each other and against their definitions."""

import pytest
import torch

from fewstep.errors import RecipeError
from fewstep.predict import X0
from fewstep.process import EDM, over
from fewstep.testing import PATHS, Classes, Gaussian, Given, Mixture, as_network, normal_points
from fewstep.vp import VP

paths = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
some_paths = pytest.mark.parametrize("name", ["edm", "linear shifted", "trigflow", "vp cosine"])  # flows take time


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def heaps(path) -> Mixture:
    means = torch.tensor([[-1.5, 0.2], [1.2, 0.8], [0.3, -1.4]], dtype=torch.float64)
    return Mixture(path, column(0.5, 0.2, 0.3), means, column(0.3, 0.1, 0.5), substeps=64)


def one_heap(path) -> Mixture:
    return Mixture(path, column(1.0), column(0.7, -0.2)[None], column(0.4), substeps=64)


def noised(path, count: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Points and times all over the path."""
    t = path.t_max * torch.linspace(0.001, 1, count, dtype=torch.float64)
    x0, z = torch.randn(2, count, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return path.noise(x0, z, t), t


@some_paths
def test_mixture_of_one_is_the_gaussian(name):
    path = PATHS[name]
    world, mixture, (x, t) = Gaussian(path, column(0.7, -0.2), 0.4), one_heap(path), noised(path)
    assert torch.allclose(mixture(x, t), world(x, t), rtol=1e-12)
    assert torch.allclose(mixture.score(x, t), world.score(x, t), rtol=1e-12)
    assert torch.allclose(mixture.log_density(x, t), world.log_density(x, t), rtol=1e-12)
    assert torch.allclose(mixture.flow(x, t, 0.3 * t), world.flow(x, t, 0.3 * t), rtol=1e-6, atol=1e-7)
    assert torch.allclose(mixture.flow(x, t, 0 * t), world.flow(x, t, 0 * t), rtol=1e-6, atol=1e-7)


@paths
def test_score_is_the_gradient_of_the_log_density(path):
    x, t = noised(path)
    x.requires_grad_(True)
    for world in (heaps(path), Gaussian(path, column(0.7, -0.2), 0.4)):
        slope = torch.autograd.grad(world.log_density(x, t).sum(), x)[0]
        assert torch.allclose(world.score(x, t), slope, rtol=1e-10, atol=1e-12)


@paths
def test_posterior_mean_follows_from_the_score(path):
    """Tweedie: alpha D = x + sigma^2 score."""
    x, t = noised(path)
    for world in (heaps(path), Gaussian(path, column(0.7, -0.2), 0.4)):
        tweedie = x + over(path.sigma(t), x) ** 2 * world.score(x, t)
        assert torch.allclose(over(path.alpha(t), x) * world(x, t), tweedie, rtol=1e-10, atol=1e-10)


@some_paths
def test_flow_follows_the_velocity(name):
    """The derivative of the flow with respect to its end is the velocity of the process there."""
    path = PATHS[name]
    x, t = noised(path, 12)
    s, h = 0.5 * t, 1e-4 * t
    for world in (heaps(path), Gaussian(path, column(0.7, -0.2), 0.4)):
        slope = (world.flow(x, t, s + h) - world.flow(x, t, s - h)) / over(2 * h, x)
        end = world.flow(x, t, s)
        assert torch.allclose(slope, path.velocity(end, world(end, s), s), rtol=1e-3, atol=1e-4 / path.t_max)


@some_paths
def test_flow_is_a_semigroup_and_starts_where_it_is(name):
    path = PATHS[name]
    x, t = noised(path)
    for world, rtol in ((heaps(path), 1e-5), (Gaussian(path, column(0.7, -0.2), 0.4), 1e-11)):
        bent = world.flow(world.flow(x, t, 0.4 * t), 0.4 * t, 0.1 * t)
        assert torch.allclose(bent, world.flow(x, t, 0.1 * t), rtol=rtol, atol=1e-5)
        assert torch.allclose(world.flow(x, t, t), x, rtol=1e-12)


def test_flow_of_a_mixture_carries_the_density():
    """The change of variables: log p_s(flow) + log det = log p_t."""
    path = EDM()
    world, x, t, s = heaps(path), column(0.4, -0.3)[None], column(2.0), column(0.1)
    jacobian = torch.autograd.functional.jacobian(lambda x: world.flow(x, t, s)[0], x)[:, 0]
    ends = world.log_density(world.flow(x, t, s), s) + torch.linalg.det(jacobian).log()
    assert ends.item() == pytest.approx(world.log_density(x, t).item(), abs=1e-5)


def test_published_denoiser_values():
    """The testbeds of the distribution-matching cards: the mixture of G2 at two points."""
    world = Mixture(EDM(), column(0.3, 0.7), column(-2.0, 1.5)[:, None], column(0.5, 0.4))
    assert world(column(0.0, 0.5)[:, None], column(0.7, 0.7))[:, 0].tolist() == pytest.approx(
        [0.806888, 1.223624], abs=1e-6
    )


def test_spread_is_that_of_the_testbed():
    path = VP((0.64,))
    assert Gaussian(path, column(1.0), 0.5).spread(column(1.0)).square().item() == pytest.approx(0.52)
    assert Gaussian(path, column(-0.3), 1.2).spread(column(1.0)).square().item() == pytest.approx(1.2816)


def test_samples_have_the_moments_of_their_law():
    world = heaps(EDM())
    x0 = world.sample(40000, torch.Generator().manual_seed(0))
    mean = (world.weights[:, None] * world.means).sum(0)
    variance = (world.weights[:, None] * (world.stds[:, None] ** 2 + world.means**2)).sum(0) - mean**2
    assert x0.mean(0).tolist() == pytest.approx(mean.tolist(), abs=0.03)
    assert x0.var(0).tolist() == pytest.approx(variance.tolist(), rel=0.03)


def test_classes_answer_each_label_with_its_law():
    world = Classes(EDM(), column(-1.0, 2.0, 0.5)[:, None], 0.4)
    x, t = column(0.1, 0.1, 0.1)[:, None], column(0.5, 0.5, 0.5)
    separate = [Gaussian(EDM(), column(mean), 0.4)(x[:1], t[:1]).item() for mean in (-1.0, 2.0, 0.5)]
    assert world(x, t, torch.tensor([0, 1, -1]))[:, 0].tolist() == separate
    assert world(x, t)[:, 0].tolist() == [separate[2]] * 3


def test_critic_of_a_world_needs_the_other_one():
    net = as_network(heaps(EDM()), X0())
    with pytest.raises(RecipeError, match="against"):
        net(torch.zeros(1, 2).double(), column(0.1), None, judge=1)


def test_normal_points_are_exact_for_polynomials():
    points, weights = normal_points(4, dims=2)
    assert weights.sum().item() == pytest.approx(1)
    assert (weights @ points.prod(1)).item() == pytest.approx(0, abs=1e-14)
    assert (weights @ (points[:, 0] ** 6 * points[:, 1] ** 2)).item() == pytest.approx(15)


def test_given_numbers_run_out_loudly():
    draws = Given([column(1.0)], [column(0.5)], [3])
    like = torch.zeros(1, dtype=torch.float64)
    assert (draws.normal(like).item(), draws.uniform(1).item(), draws.integer(9), draws.left) == (1.0, 0.5, 3, 0)
    with pytest.raises(IndexError):
        draws.normal(like)
