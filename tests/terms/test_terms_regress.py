"""Regression on a teacher's ends, in the Gaussian world."""

from math import prod

import pytest
import torch
from torch import Tensor

from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.errors import RecipeError
from fewstep.predict import X0
from fewstep.solvers import DDIM, Heun
from fewstep.terms import L1, Regress
from fewstep.testing import PATHS, Affine, Gaussian, Given, normal_points
from fewstep.times import Karras, Trailing
from fewstep.training.rollouts import OneStep
from fewstep.turn import Turn

STD = 0.7


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def grid_of(name: str, steps: int) -> Tensor:
    return (Karras() if name == "edm" else Trailing(PATHS[name].t_max)).steps(steps)


def cost_of(name: str, net: Affine, solver=None, steps: int = 5, metric=None) -> Tensor:
    """Return the expected cost on pairs made by a solver along the exact teacher of N(0.4, 0.7^2)."""
    path, times = PATHS[name], grid_of(name, steps)
    z, weights = normal_points(3)
    teacher, start = Gaussian(path, column(0.4), STD), path.sigma(times[:1]).item()
    pairs = Batch((solver or DDIM())(teacher, start * z, times), None, z)
    turn = Turn("student", {"student": Denoiser(net, path, X0())}, pairs, Given(), OneStep(path.t_max))
    return weights @ Regress(times[0].item(), **({} if metric is None else {"metric": metric}))(turn)


def kappas(name: str, steps: int) -> float:
    """Return prod kappa(t_i, t_{i+1}): the slope of the discrete teacher."""
    path, times = PATHS[name], grid_of(name, steps)
    alpha, sigma = path.alpha(times).tolist(), path.sigma(times).tolist()

    def kappa(i: int) -> float:
        keep = sigma[i + 1] / sigma[i]
        share = alpha[i] * STD**2 / (alpha[i] ** 2 * STD**2 + sigma[i] ** 2)
        return keep + (alpha[i + 1] - alpha[i] * keep) * share

    return prod(map(kappa, range(steps)))


@pytest.mark.parametrize("name", ["edm", "linear shifted", "vp scaled", "vp zero snr"])
def test_student_lands_on_the_product_of_the_teachers_steps(name: str):
    """The minimiser is the discrete teacher, not the flow: least squares through the term's own gradient."""
    net = Affine(column(0.0), column(0.0)[None])
    slopes = []
    for probe in (0.0, 1.0):  # the gradient is a straight line in the slope; the offset is at its own minimum
        torch.nn.init.constant_(net.matrix, probe)
        slopes.append(torch.autograd.grad(cost_of(name, net), net.matrix)[0].item())
    landed = slopes[0] / (slopes[0] - slopes[1])
    assert landed == pytest.approx(kappas(name, 5), rel=1e-9)
    path, times = PATHS[name], grid_of(name, 5)
    exact = STD / Gaussian(path, column(0.0), STD).spread(times[:1]).item()
    assert abs(landed / exact - 1) > 1e-2


@pytest.mark.parametrize("solver", [DDIM(), Heun()], ids=str)
@pytest.mark.parametrize("metric", [None, L1()], ids=str)
def test_cost_is_0_at_the_teachers_discrete_map_and_only_there(solver, metric):
    path, times = PATHS["edm"], grid_of("edm", 5)
    teacher = Gaussian(path, column(0.4), STD)
    ends = solver(teacher, column(0.0, 1.0)[:, None], times)[:, 0]
    exact = Affine(ends[:1], (ends[1:] - ends[:1])[None])
    assert cost_of("edm", exact, solver, metric=metric).item() < 1e-10
    wrong = Affine(ends[:1] + 0.01, (ends[1:] - ends[:1])[None])
    assert cost_of("edm", wrong, solver, metric=metric).item() > 1e-5


def test_data_without_stored_noise_are_refused():
    net = Affine(column(0.0), column(1.0)[None])
    view = Denoiser(net, PATHS["edm"], X0())
    turn = Turn("student", {"student": view}, Batch(column(1.0)[:, None]), Given(), OneStep(80.0))
    with pytest.raises(RecipeError, match="needs stored pairs"):
        Regress(80.0)(turn)
