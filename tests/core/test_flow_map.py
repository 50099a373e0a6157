"""Students as flow maps."""

import pytest
import torch

from fewstep.denoiser import Denoiser, Once
from fewstep.errors import RecipeError
from fewstep.flowmap import FlowMap, check_boundary
from fewstep.networks import MLP
from fewstep.predict import EDM, X0, Eps, V, Velocity
from fewstep.process import EDM as Path
from fewstep.testing import PATHS, Counted, Gaussian, Jump, Mixture

paths = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
MEAN = torch.tensor([0.7, -0.2], dtype=torch.float64)


def noised(path) -> tuple[torch.Tensor, torch.Tensor]:
    t = path.t_max * torch.linspace(0.01, 0.99, 30, dtype=torch.float64)
    x0, z = torch.randn(2, 30, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return path.noise(x0, z, t), t


def random_view(path, prediction) -> Denoiser:
    torch.manual_seed(0)
    return Denoiser(MLP(2, width=16, depth=1), path, prediction)


@paths
def test_flow_map_to_its_own_time_is_the_identity_to_the_last_bit(path):
    x, t = noised(path)
    assert torch.equal(FlowMap(random_view(path, EDM()))(x.float(), t, t), x.float())
    assert torch.equal(FlowMap(Jump(Gaussian(path, MEAN, 0.4)))(x, t, t), x)


@paths
def test_flow_map_to_0_is_the_estimate_to_the_last_bit(path):
    x, t = noised(path)
    view = random_view(path, EDM())
    assert torch.equal(FlowMap(view)(x.float(), t, torch.zeros_like(t)), view(x.float(), t))


@paths
def test_flow_map_semigroup(path):
    x, t = noised(path)
    student = FlowMap(Jump(Gaussian(path, MEAN, 0.4)))
    middle, end = 0.6 * t, 0.1 * t
    assert torch.allclose(student(student(x, t, middle), middle, end), student(x, t, end), rtol=1e-10, atol=1e-11)
    assert torch.allclose(student(student(x, t, middle), middle, 0 * t), student(x, t, 0 * t), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("name", ["edm", "linear shifted", "vp zero snr"])
def test_flow_map_of_a_jump_is_the_flow(name):
    path = PATHS[name]
    x, t = noised(path)
    world = Mixture(path, MEAN.new_tensor([0.4, 0.6]), torch.stack([MEAN, -MEAN]), MEAN.new_tensor([0.3, 0.5]), 64)
    for s in (0.7 * t, 0 * t):
        assert torch.allclose(FlowMap(Jump(world))(x, t, s), world.flow(x, t, s), rtol=1e-10, atol=1e-10)


def test_flow_map_of_a_teacher_is_one_ddim_step_and_no_semigroup():
    x, t = noised(Path())
    teacher = FlowMap(Gaussian(Path(), MEAN, 0.4))
    assert (teacher(teacher(x, t, 0.5 * t), 0.5 * t, 0 * t) - teacher(x, t, 0 * t)).abs().max() > 0.1


@pytest.mark.parametrize("prediction", [Eps(), V(), Velocity(), EDM()], ids=["eps", "v", "velocity", "edm"])
@paths
def test_boundary_holds_for_predictions_that_have_it(path, prediction):
    assert check_boundary(random_view(path, prediction), torch.randn(4, 2)) is None


def test_boundary_of_edm_may_stand_at_the_lowest_time():
    view = random_view(Path(), EDM(boundary=0.002))
    assert check_boundary(view, torch.randn(4, 2), low=0.002, tolerance=1e-6) is None


@paths
def test_boundary_is_missing_when_x0_is_predicted(path):
    with pytest.raises(RecipeError, match=r"at time 0 the student changes its input .* x0 has n") as caught:
        check_boundary(random_view(path, X0()), torch.randn(4, 2))
    assert all(name in str(caught.value) for name in ("eps", "velocity", "edm"))


def test_second_time_reaches_the_network():
    path = Path()
    torch.manual_seed(0)
    net = MLP(2, width=16, depth=1, second_time=True)
    torch.nn.init.normal_(net.context.until.layers[2].weight)
    view, (x, t) = Denoiser(net, path, EDM(), second_time=True), noised(path)
    x = x.float()
    assert torch.equal(view(x, t), view(x, t, None, t))
    assert not torch.allclose(view(x, t, None, t), view(x, t, None, 0.5 * t))


def test_once_asks_the_same_question_once():
    counted, (x, t) = Counted(Gaussian(Path(), MEAN, 0.4)), noised(Path())
    once = Once(counted)
    assert once(x, t) is once(x, t)
    assert counted.calls == 1
    assert torch.equal(once(x.clone(), t), once(x, t))
    assert counted.calls == 2
    assert once.process is counted.process
