"""A network that is told a share of every time: NitroFusion's shift of time steps."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from fewstep.critic import Critic
from fewstep.denoiser import Denoiser
from fewstep.errors import RecipeError
from fewstep.flowmap import FlowMap
from fewstep.model import Model
from fewstep.networks import build_network
from fewstep.predict import V, Velocity
from fewstep.process import EDM, Linear, Process
from fewstep.sampling import FewStep
from fewstep.store import load_model, save_model
from fewstep.testing import PATHS, Gaussian, as_network
from fewstep.times import Explicit
from fewstep.vp import VP

STABLE = VP.from_diffusers({"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012})
WORDS = {"mlp": {"features": 2, "classes": 3, "width": 16, "depth": 1, "second_time": True}}


def exact(path: Process, share: float) -> Denoiser:
    """The best denoiser of normal data of the path's deviation, told a share of the time."""
    world = Gaussian(path, torch.zeros(1, dtype=torch.float64), path.sigma_data)
    return Denoiser(as_network(world, V()), path, V(), time_share=share)


def times(path: Process) -> Tensor:
    return path.t_max * torch.linspace(0.05, 0.99, 12, dtype=torch.float64)


@pytest.mark.parametrize(("share", "deviation"), [(0.25, 0.822), (0.5, 0.527), (1.0, 0.068)])
def test_one_step_from_pure_noise_is_as_wide_as_the_share_of_data_at_the_time_told(share: float, deviation: float):
    """The card's numbers, on the schedule of Stable Diffusion: at the entries 249, 499 and 999 of its table."""
    x, t = torch.ones(1, 1, dtype=torch.float64), torch.tensor([1000.0], dtype=torch.float64)
    width = exact(STABLE, share)(x, t).item()
    assert width == pytest.approx(STABLE.alphas_cumprod[round(1000 * share) - 1] ** 0.5, rel=1e-9)
    assert width == pytest.approx(deviation, abs=5e-4)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_x_keeps_its_place_in_the_marginal_on_every_path(path: Process):
    """So many deviations from the mean at t are asked about as so many at the time told."""
    t = times(path)
    x, there = exact(path, 0.3).asked(path.variance(t).sqrt()[:, None], t)
    assert torch.equal(there, 0.3 * t)
    assert torch.allclose(x[:, 0] ** 2, path.variance(there), rtol=1e-12)
    found = exact(path, 0.3)(path.variance(t).sqrt()[:, None], t)
    assert torch.allclose(found, exact(path, 1.0)(x, there), rtol=1e-12)


def network() -> nn.Module:
    torch.manual_seed(0)
    net = build_network(WORDS)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return net


def model(share: float) -> Model:
    view = Denoiser(network(), EDM(1.0, 5.0), Velocity(), second_time=True, time_share=share)
    sampler = FewStep(Explicit((5.0, 2.0, 0.5)), (1, 2, 3))
    return Model(view, sampler, (2,), ("a", "b", "c"), WORDS)


def test_the_whole_time_changes_no_bit():
    x, t = torch.randn(4, 2), torch.rand(4, dtype=torch.float64)
    plain = Denoiser(network(), Linear())
    asked, told = plain.asked(x, t)
    assert (asked is x, told is t) == (True, True)
    assert not torch.allclose(replace(plain, time_share=0.5)(x, t), plain(x, t), atol=1e-2)


def test_the_sampler_puts_the_noise_of_the_path_back():
    """Only the network is told another time, of both ends of a jump; noise levels are those of the schedule."""
    it, (first, fresh) = model(0.4), torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(1))
    c, told = torch.arange(3), replace(it.view, time_share=1.0)

    def answer(x: Tensor, time: float, s: float) -> Tensor:
        smaller = ((1 + (0.4 * time) ** 2) / (1 + time**2)) ** 0.5
        at = torch.full((3,), 0.4, dtype=torch.float64)
        return told(smaller * x, at * time, c, at * s)

    noisy = answer(5 * first, 5.0, 0.0) + 2 * fresh
    found = it.sampler.path(it.view, 5 * first, 2, c, fresh[None])
    assert torch.allclose(found, answer(noisy, 2.0, 0.0), rtol=1e-5, atol=1e-6)
    t, s = torch.full((3,), 5.0, dtype=torch.float64), torch.full((3,), 2.0, dtype=torch.float64)
    jumped = answer(5 * first, 5.0, 2.0)
    assert torch.allclose(FlowMap(it.view)(5 * first, t, s, c), jumped + 2 / 5 * (5 * first - jumped), atol=1e-5)


def test_a_critic_is_told_the_same_share():
    path = Linear()
    real = Gaussian(path, torch.zeros(1, dtype=torch.float64), 1.0)
    fake = Gaussian(path, torch.ones(1, dtype=torch.float64), 1.0)
    view, t = Denoiser(as_network(real, V(), against=fake), path, V()), times(path)
    x = torch.randn(len(t), 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    share = replace(view, time_share=0.6)
    assert torch.allclose(Critic(share)(x, t), Critic(view)(*share.asked(x, t)))


def test_a_saved_model_is_told_its_share_again(tmp_path):
    it = model(0.4)
    save_model(it, tmp_path)
    again = load_model(tmp_path)
    assert again.view.time_share == 0.4
    images = it.sample(range(5), 1, 3)
    assert torch.equal(again.sample(range(5), 1, 3), images)
    assert not torch.allclose(model(1.0).sample(range(5), 1, 3), images, atol=1e-2)


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share: float):
    with pytest.raises(RecipeError, match=r"told a share of .* of every time; accepted are shares above 0, up to 1"):
        model(share)
