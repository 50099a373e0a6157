"""The meaning of a network's output."""

import pytest
import torch

from fewstep.denoiser import Denoiser
from fewstep.predict import EDM, X0, Eps, Prediction, V, Velocity
from fewstep.process import EDM as Path
from fewstep.process import Process
from fewstep.testing import PATHS, ConformanceError, Gaussian, as_network, check_prediction, time_of

PREDICTIONS = {"x0": X0(), "eps": Eps(), "v": V(), "velocity": Velocity(), "edm": EDM(), "edm 0.002": EDM(0.002)}
predictions = pytest.mark.parametrize("prediction", PREDICTIONS.values(), ids=PREDICTIONS)
paths = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)


@predictions
@paths
def test_conversions_are_inverse(prediction: Prediction, path: Process):
    check_prediction(prediction, path)


@predictions
@paths
def test_a_teacher_is_the_same_denoiser_however_it_is_written(prediction: Prediction, path: Process):
    world = Gaussian(path, torch.tensor([0.3, -1.0], dtype=torch.float64), 0.7)
    view = Denoiser(as_network(world, prediction), path, prediction)
    t = path.t_max * torch.linspace(0.01, 0.97, 12, dtype=torch.float64)
    x = path.noise(*torch.randn(2, 12, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64), t)
    assert torch.allclose(view(x, t), world(x, t), rtol=1e-9, atol=1e-9)


@paths
def test_label_gives_back_its_time(path: Process):
    t = path.t_max * torch.linspace(0.01, 1, 50, dtype=torch.float64)
    assert torch.allclose(time_of(path, path.label(t)), t, rtol=1e-12)


def test_outputs_are_those_of_the_papers():
    x0, z, t = torch.tensor([[2.0]]), torch.tensor([[-1.0]]), torch.tensor([600.0], dtype=torch.float64)
    path = PATHS["vp linear"]
    alpha, sigma = path.alpha(t).item(), path.sigma(t).item()
    x = path.noise(x0, z, t)
    assert Eps().output(path, x0, x, t).item() == pytest.approx(-1.0, rel=1e-5)
    assert V().output(path, x0, x, t).item() == pytest.approx(-alpha - 2 * sigma, rel=1e-5)
    assert Velocity().output(path, x0, x, t).item() == pytest.approx(-3.0, rel=1e-5)
    assert X0().output(path, x0, x, t).item() == 2.0


def test_edm_is_the_table_of_the_paper():
    path, t = Path(sigma_data=0.5), torch.tensor([0.01, 0.3, 1.7, 80.0], dtype=torch.float64)
    x, output = torch.randn(2, 4, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    c_skip, c_out, c_in = 0.25 / (t**2 + 0.25), t * 0.5 / (t**2 + 0.25).sqrt(), 1 / (t**2 + 0.25).sqrt()
    assert torch.allclose(EDM().input(path, x, t), c_in[:, None] * x, rtol=1e-12)
    assert torch.allclose(EDM().x0(path, output, x, t), c_skip[:, None] * x + c_out[:, None] * output, rtol=1e-12)


def test_edm_with_a_boundary_is_the_preconditioning_of_consistency_models():
    path, low = Path(sigma_data=0.5), 0.002
    t = torch.tensor([0.01, 0.3, 1.7, 80.0], dtype=torch.float64)
    x, output = torch.randn(2, 4, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    c_skip, c_out = 0.25 / ((t - low) ** 2 + 0.25), (t - low) * 0.5 / (t**2 + 0.25).sqrt()
    wanted = c_skip[:, None] * x + c_out[:, None] * output
    assert torch.allclose(EDM(boundary=low).x0(path, output, x, t), wanted, rtol=1e-12)


@paths
def test_edm_feeds_the_network_unit_variance(path: Process):
    t = path.t_max * torch.linspace(0.01, 0.99, 20, dtype=torch.float64)
    world = Gaussian(path, torch.zeros(1, dtype=torch.float64), path.sigma_data)
    fed = EDM().input(path, world.spread(t)[:, None], t)
    assert torch.allclose(fed, torch.ones_like(fed), rtol=1e-12)


@pytest.mark.parametrize("prediction", [Eps(), V(), Velocity(), EDM()], ids=["eps", "v", "velocity", "edm"])
@paths
def test_boundary_at_time_0_is_the_identity_to_the_last_bit(prediction: Prediction, path: Process):
    x, output = torch.randn(2, 8, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(prediction.x0(path, output, x, torch.zeros(8, dtype=torch.float64)), x)


def test_boundary_of_edm_at_the_lowest_time_is_the_identity_to_the_last_bit():
    x, output = torch.randn(2, 8, 3, generator=torch.Generator().manual_seed(0))
    t = torch.full((8,), 0.002, dtype=torch.float64)
    assert torch.equal(EDM(boundary=0.002).x0(Path(), output, x, t), x)


class Bent(Prediction):
    """A prediction whose two directions disagree."""

    def x0(self, process, output, x, t):
        return output + 1

    def output(self, process, x0, x, t):
        return x0


def test_conformance_finds_a_conversion_that_is_no_inverse():
    with pytest.raises(ConformanceError, match="x0 is the inverse of output"):
        check_prediction(Bent(), Path())
