"""On the clock of noise levels a network answers as it does on its own path, and a solver arrives at the same place."""

import pytest
import torch

from fewstep import VP, Denoiser, Linear, Process, predict
from fewstep.levels import AtHome, Levels, OnLevels, level
from fewstep.solvers import DDIM
from fewstep.times import Trailing

BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
HOMES = [
    VP.from_betas(BETAS.tolist()),
    VP(VP.from_betas(BETAS.tolist(), zero_snr=True).alphas_cumprod, unit=True),
    Linear(3.0, label_scale=1000.0),
]


class Net(torch.nn.Module):
    """A network whose answer depends on everything that it is fed."""

    def forward(self, x: torch.Tensor, label: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        return torch.sin(x) + 0.01 * label[:, None].to(x)


def views(home: Process, inner: predict.Prediction) -> tuple[Denoiser, Denoiser]:
    return Denoiser(Net(), home, inner), Denoiser(Net(), Levels(home), AtHome(inner, home))


@pytest.mark.parametrize("inner", [predict.V(), predict.Velocity(), predict.X0()])
@pytest.mark.parametrize("home", HOMES)
def test_same_item_at_the_same_level_has_the_same_estimate(home: Process, inner: predict.Prediction) -> None:
    here, there = views(home, inner)
    t = torch.tensor([0.05, 0.3, 0.7, 0.95], dtype=torch.float64) * home.t_max
    x = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(there(x / home.alpha(t)[:, None], level(home, t)), here(x, t))


@pytest.mark.parametrize("home", HOMES)
def test_sampler_arrives_at_the_same_place(home: Process) -> None:
    here, there = views(home, predict.V())
    own = Trailing(0.9 * home.t_max)
    x, t = torch.randn(2, 3, dtype=torch.float64), own.points(1)
    end = DDIM()(here, x, own.steps(6))
    torch.testing.assert_close(DDIM()(there, x / home.alpha(t), OnLevels(home, own).steps(6)), end)


@pytest.mark.parametrize("home", HOMES)
def test_label_is_that_of_the_home_path(home: Process) -> None:
    t = torch.tensor([0.2, 0.9], dtype=torch.float64) * home.t_max
    torch.testing.assert_close(Levels(home).label(level(home, t)), home.label(t))


def test_clock_ends_where_the_path_does() -> None:
    assert Levels(HOMES[0]).t_max == pytest.approx(14.6146, abs=1e-3)  # Stable Diffusion's largest noise level
    assert [Levels(home).t_max for home in HOMES[1:]] == [80, 80]


def test_output_is_the_inverse() -> None:
    home = HOMES[2]
    process, prediction = Levels(home), AtHome(predict.Velocity(), home)
    x, t = torch.randn(2, 3, dtype=torch.float64), torch.tensor([0.5, 7.0], dtype=torch.float64)
    output = torch.randn(2, 3, dtype=torch.float64)
    torch.testing.assert_close(prediction.output(process, prediction.x0(process, output, x, t), x, t), output)


def test_no_noise_is_the_identity() -> None:
    _, there = views(HOMES[0], predict.Eps())
    x = torch.randn(2, 3, dtype=torch.float64)
    torch.testing.assert_close(there(x, torch.zeros(2, dtype=torch.float64)), x)


@pytest.mark.parametrize("home", HOMES)
def test_share_of_time_is_one_of_the_home_clock(home: Process) -> None:
    t = torch.tensor([0.05, 0.3, 0.7], dtype=torch.float64) * home.t_max
    torch.testing.assert_close(Levels(home).earlier(level(home, t), 0.3), level(home, home.earlier(t, 0.3)))
