"""A denoiser on another path: the same item at the same signal-to-noise ratio."""

import pytest
import torch
from torch import Tensor

from fewstep.denoiser import Denoiser, Moved
from fewstep.networks import MLP
from fewstep.predict import EDM as Preconditioned
from fewstep.predict import V, Velocity
from fewstep.process import EDM, Linear, Process, TrigFlow
from fewstep.recipes.assemble import moved
from fewstep.testing import PATHS, Gaussian, Jump, Mixture

paths = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
homes = pytest.mark.parametrize("home", [PATHS[name] for name in ("edm", "linear", "trigflow", "vp cosine")], ids=str)


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def noised(path: Process) -> tuple[Tensor, Tensor]:
    level = torch.logspace(-2, 1.5, 24, dtype=torch.float64)  # a noise level sigma / alpha that all paths have
    t = path.time(-2 * level.log())
    x0, z = torch.randn(2, 24, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return path.noise(x0, z, t), t


@homes
@paths
def test_moved_denoiser_is_the_denoiser_of_the_other_path(home: Process, path: Process):
    mean, (x, t) = column(0.7, -0.2), noised(path)
    assert torch.allclose(Moved(Gaussian(home, mean, 0.4), path)(x, t), Gaussian(path, mean, 0.4)(x, t), rtol=1e-7)
    heaps = (column(0.3, 0.7), torch.stack([mean, -mean]), column(0.3, 0.5), 8)
    assert torch.allclose(Moved(Mixture(home, *heaps), path)(x, t), Mixture(path, *heaps)(x, t), rtol=1e-7, atol=1e-9)


@homes
@paths
def test_moved_flow_map_jumps_to_the_same_end(home: Process, path: Process):
    mean, (x, t) = column(0.7, -0.2), noised(path)
    for s in (path.time(path.logsnr(t) + 1.5), 0 * t):
        found = Moved(Jump(Gaussian(home, mean, 0.4)), path)(x, t, None, s)
        assert torch.allclose(found, Jump(Gaussian(path, mean, 0.4))(x, t, None, s), rtol=1e-6, atol=1e-8)


def test_beyond_the_noisiest_time_it_is_asked_there():
    world = Gaussian(EDM(sigma_max=20.0), column(0.7), 0.4)
    pure = column(1.0)[:, None]
    found = Moved(world, Linear())(pure, column(1.0))
    assert torch.equal(found, world(20 * pure, column(20.0)))
    assert Moved(world, Linear()).process == Linear()


def network(**more) -> MLP:
    torch.manual_seed(0)
    return MLP(2, width=16, depth=1, **more)


@pytest.mark.parametrize("path", [Linear(sigma_data=0.5, noise_label=True), TrigFlow(0.5, noise_label=True)], ids=str)
def test_preconditioned_network_with_noise_labels_is_the_same_network_elsewhere(path: Process):
    view, (x, t) = Denoiser(network(), EDM(0.5), Preconditioned()), noised(path)
    found = moved(view, path, x.float())
    assert isinstance(found, Denoiser)
    assert found.net is view.net
    assert found.process == path
    assert torch.allclose(found(x.float(), t), Moved(view, path)(x.float(), t), atol=1e-5)


@pytest.mark.parametrize("prediction", [Preconditioned(), V(), Velocity()], ids=str)
def test_network_whose_labels_mean_something_else_is_wrapped(prediction):
    path = Linear(sigma_data=0.5)
    view, (x, t) = Denoiser(network(), EDM(0.5), prediction), noised(path)
    found = moved(view, path, x.float())
    assert isinstance(found, Moved)
    assert torch.equal(found(x.float(), t), Moved(view, path)(x.float(), t))


def test_network_on_its_own_path_stays_as_it_is():
    view = Denoiser(network(), EDM(0.5), V())
    assert moved(view, EDM(0.5), torch.zeros(4, 2)) is view
