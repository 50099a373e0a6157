"""The Gaussian paths against their definitions, against each other, and against diffusers' tables."""

import math
from dataclasses import dataclass

import pytest
import torch
from diffusers import DDPMScheduler

from fewstep.errors import RecipeError
from fewstep.process import EDM, Linear, Process, TrigFlow, over
from fewstep.testing import PATHS, ConformanceError, Gaussian, check_process
from fewstep.vp import VP

paths = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
SCALED = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@paths
def test_process_keeps_the_rules(path):
    check_process(path)


@paths
def test_time_is_the_inverse_of_logsnr_on_the_whole_clock(path):
    t = path.t_max * torch.linspace(0, 1, 301, dtype=torch.float64)
    logsnr = path.logsnr(t)
    assert logsnr[0] == torch.inf
    assert torch.allclose(path.time(logsnr), t, rtol=1e-9, atol=1e-12 * path.t_max)


@paths
def test_time_is_the_inverse_of_logsnr_near_the_data(path):
    t = path.t_max * 10 ** torch.linspace(-8, -1, 50, dtype=torch.float64)
    assert torch.allclose(path.time(path.logsnr(t)), t, rtol=1e-7, atol=0)


@paths
def test_step_in_single_precision_is_the_identity_to_the_last_bit(path):
    x, x0 = torch.randn(2, 64, 3, generator=torch.Generator().manual_seed(0))
    t = path.t_max * torch.linspace(0, 1, 64, dtype=torch.float64)
    assert torch.equal(path.step(x, x0, t, t), x)
    assert torch.equal(path.step(x, x0, t, torch.zeros_like(t))[1:], x0[1:])


@paths
def test_step_is_the_exponential_integrator(path):
    """The h-form of TCD: (sigma_s / sigma_t) x - alpha_s (exp(-h) - 1) x0 with h the rise of log(alpha / sigma)."""
    x, x0 = torch.randn(2, 8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = path.t_max * torch.linspace(0.2, 0.95, 8, dtype=torch.float64)
    s = t * torch.linspace(0.1, 0.9, 8, dtype=torch.float64)
    h = (path.logsnr(s) - path.logsnr(t)) / 2
    form = over(path.sigma(s) / path.sigma(t), x) * x - over(path.alpha(s) * torch.expm1(-h), x) * x0
    assert torch.allclose(path.step(x, x0, t, s), form, rtol=1e-11, atol=1e-12)


@paths
def test_renoise_keeps_the_marginals_of_a_gaussian(path):
    world = Gaussian(path, column(0.7), 0.4)
    t = path.t_max * torch.linspace(0.1, 0.98, 9, dtype=torch.float64)
    s = t * 0.7
    none, one = torch.zeros(9, 1, dtype=torch.float64), torch.ones(9, 1, dtype=torch.float64)
    mean = path.renoise(over(path.alpha(s), one) * 0.7, none, s, t)
    spread = torch.hypot(path.renoise(over(world.spread(s), one), none, s, t), path.renoise(none, one, s, t))
    assert torch.allclose(mean, over(path.alpha(t), one) * 0.7, rtol=1e-12)
    assert torch.allclose(spread, over(world.spread(t), one), rtol=1e-12)


def test_velocity_of_each_path_is_the_textbook_one():
    x0, z = column(2.0)[:, None], column(-1.5)[:, None]
    t = column(0.3)
    flow, trig = Linear(), TrigFlow(sigma_data=0.5)
    assert flow.velocity(flow.noise(x0, z, t), x0, t).item() == pytest.approx(-1.5 - 2.0)
    wanted = 0.5 * math.cos(0.3) * -1.5 - math.sin(0.3) * 2.0
    assert trig.velocity(trig.noise(x0, z, t), x0, t).item() == pytest.approx(wanted)
    assert EDM().velocity(EDM().noise(x0, z, t), x0, t).item() == pytest.approx(-1.5)


def test_shift_moves_the_clock_as_in_sd3():
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    assert torch.allclose(Linear(shift=3.0).sigma(t), 3 * t / (1 + 2 * t))
    assert torch.allclose(Linear(shift=3.0).alpha(t) + Linear(shift=3.0).sigma(t), torch.ones_like(t))
    assert torch.equal(Linear(shift=1.0).sigma(t), t)


def test_labels_are_what_published_networks_expect():
    assert EDM().label(column(2.0)).item() == pytest.approx(math.log(2) / 4)
    assert EDM().label(column(0.0)).isfinite().all()
    assert Linear(label_scale=1000.0).label(column(0.25)).item() == pytest.approx(250)
    assert PATHS["vp linear"].label(column(0.0, 1.0, 1000.0)).tolist() == [0, 0, 999]


@pytest.mark.parametrize(
    "config",
    [
        {},
        SCALED,
        {"beta_schedule": "linear", "num_train_timesteps": 50, "beta_end": 0.3},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"trained_betas": [0.1, 0.2, 0.35]},
        {**SCALED, "rescale_betas_zero_snr": True},
        {"beta_schedule": "squaredcos_cap_v2", "rescale_betas_zero_snr": True, "num_train_timesteps": 100},
    ],
    ids=str,
)
def test_vp_table_equals_that_of_diffusers(config):
    theirs = DDPMScheduler(**config)
    ours = torch.tensor(VP.from_diffusers(theirs.config).alphas_cumprod, dtype=torch.float64)
    assert torch.allclose(ours, theirs.alphas_cumprod.double(), rtol=2e-5, atol=1e-8)  # theirs is single precision


@pytest.mark.parametrize("name", [name for name in PATHS if name.startswith("vp")])
def test_vp_meets_its_table_and_preserves_variance(name):
    path = PATHS[name]
    levels = torch.arange(1, 1001, dtype=torch.float64)
    table = torch.tensor(path.alphas_cumprod, dtype=torch.float64)
    assert torch.allclose(path.alpha(levels) ** 2, table, rtol=1e-9, atol=1e-14)
    between = torch.linspace(0, 1000, 777, dtype=torch.float64)
    assert torch.allclose(path.alpha(between) ** 2 + path.sigma(between) ** 2, torch.ones_like(between), rtol=1e-14)


def test_zero_snr_ends_without_signal_and_starts_unchanged():
    plain, flat = VP.from_diffusers(SCALED), VP.from_diffusers({**SCALED, "rescale_betas_zero_snr": True})
    assert flat.alphas_cumprod[-1] == 0
    assert flat.alphas_cumprod[0] == pytest.approx(plain.alphas_cumprod[0], rel=1e-12)
    assert abs(flat.alpha(column(1000.0)).item()) < 1e-15


@pytest.mark.parametrize("shift", [0.0, -1.0, math.nan])
def test_linear_refuses_a_shift_that_is_not_positive(shift):
    with pytest.raises(RecipeError, match="shift is"):
        Linear(shift=shift)


@pytest.mark.parametrize("table", [(), (1.0, 0.5), (0.9, 0.9), (0.5, 0.7), (0.5, -0.1)], ids=str)
def test_vp_refuses_a_table_that_does_not_fall_within_0_and_1(table):
    with pytest.raises(RecipeError, match="fall strictly"):
        VP(table)


def test_vp_refuses_an_unknown_schedule_and_names_the_nearest():
    with pytest.raises(RecipeError, match="did you mean 'scaled_linear'"):
        VP.from_diffusers({"beta_schedule": "scaled_liner"})


@dataclass(frozen=True)
class Loud(Process):
    """An EDM path with one rule broken."""

    broken: str
    sigma_data: float = 0.5
    t_max = 80.0

    def alpha(self, t):
        return torch.ones_like(t)

    def sigma(self, t):
        return t + 0.01 if self.broken == "sigma" else t

    def rates(self, t):
        return torch.zeros_like(t), torch.full_like(t, 1.1 if self.broken == "derivative" else 1.0)

    def time(self, logsnr):
        return (-logsnr / (3 if self.broken == "inverse" else 2)).exp()

    def label(self, t):
        return -t if self.broken == "label" else t


@pytest.mark.parametrize("broken", ["sigma", "derivative", "inverse", "label"])
def test_conformance_finds_the_broken_rule(broken):
    check_process(Loud(""))
    with pytest.raises(ConformanceError, match=broken):
        check_process(Loud(broken))
