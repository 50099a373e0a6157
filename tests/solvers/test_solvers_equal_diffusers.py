"""Our solvers end where diffusers' schedulers end, driven by the same exact teacher in each of its spellings."""

from collections.abc import Callable

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
)
from torch import Tensor

from fewstep.predict import X0, Eps, Prediction, V, Velocity
from fewstep.process import EDM, Linear, Process
from fewstep.solvers import DDIM, DPMSolver, Euler, Heun
from fewstep.testing import Mixture
from fewstep.times import Karras, Trailing
from fewstep.vp import VP

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of numpy, in diffusers
CONFIG = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
SPELLINGS = {"epsilon": Eps(), "v_prediction": V(), "sample": X0()}
spellings = pytest.mark.parametrize("spelling", SPELLINGS)


def world_on(process: Process) -> Mixture:
    means = torch.tensor([[-1.5, 0.2], [1.2, 0.8]], dtype=torch.float64)
    return Mixture(process, means.new_tensor([0.4, 0.6]), means, means.new_tensor([0.3, 0.5]))


def start(deviation: float) -> Tensor:
    return deviation * torch.randn(16, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def drive(scheduler, x: Tensor, output: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Run diffusers' loop; ``output(x, t)`` is the network's answer at the scheduler's time."""
    for t in scheduler.timesteps:
        x = scheduler.step(output(x, t), t, x).prev_sample
    return x


def close(ours: Tensor, theirs: Tensor) -> bool:
    """Equal to four digits: the schedulers compute in single precision."""
    return torch.allclose(ours, theirs.double(), rtol=1e-4, atol=1e-4)


def spelled(world: Mixture, prediction: Prediction) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the network of that world as diffusers calls it: index i of the table stands at our time i + 1."""

    def output(x: Tensor, index: Tensor) -> Tensor:
        t = torch.full((len(x),), float(index) + 1, dtype=torch.float64)
        return prediction.output(world.process, world(x, t), x, t)

    return output


@spellings
@pytest.mark.parametrize("steps", [1, 4, 10, 50])
def test_ddim_equals_that_of_diffusers(spelling: str, steps: int):
    config = {**CONFIG, "prediction_type": spelling, "timestep_spacing": "trailing", "clip_sample": False}
    scheduler = DDIMScheduler(**config)
    scheduler.set_timesteps(steps)
    world = world_on(VP.from_diffusers(scheduler.config))
    ours = DDIM()(world, start(1), Trailing(1000.0).steps(steps))
    assert close(ours, drive(scheduler, start(1), spelled(world, SPELLINGS[spelling])))


@spellings
@pytest.mark.parametrize("steps", [1, 2, 4, 10, 25])
def test_dpm_solver_equals_that_of_diffusers(spelling: str, steps: int):
    config = {**CONFIG, "prediction_type": spelling, "timestep_spacing": "trailing", "final_sigmas_type": "zero"}
    scheduler = DPMSolverMultistepScheduler(**config, algorithm_type="dpmsolver++", solver_order=2)
    scheduler.set_timesteps(steps)
    world = world_on(VP.from_diffusers(scheduler.config))
    times = torch.cat([scheduler.timesteps.double() + 1, torch.zeros(1, dtype=torch.float64)])
    assert close(DPMSolver()(world, start(1), times), drive(scheduler, start(1), spelled(world, SPELLINGS[spelling])))


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [2, 8, 20])
def test_dpm_solver_on_a_flow_equals_that_of_diffusers(shift: float, steps: int):
    config = {"use_flow_sigmas": True, "flow_shift": shift, "prediction_type": "flow_prediction"}
    scheduler = DPMSolverMultistepScheduler(**config, final_sigmas_type="zero")
    scheduler.set_timesteps(steps)
    world, u = world_on(Linear()), scheduler.sigmas.double()

    def output(x: Tensor, label: Tensor) -> Tensor:
        t = u[scheduler.step_index or 0].expand(len(x))
        return Velocity().output(world.process, world(x, t), x, t)

    assert close(DPMSolver()(world, start(1), u), drive(scheduler, start(1), output))


def levels_of(scheduler, steps: int) -> Tensor:
    """Set the steps and return diffusers' noise levels, one per call but the last of them 0."""
    scheduler.set_timesteps(steps)
    return scheduler.sigmas.double()


def at_level(scheduler, world: Mixture, spelling: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the network of that world on noise levels as diffusers spells it there; x is not scaled."""

    def output(x: Tensor, index: Tensor) -> Tensor:
        sigma = scheduler.sigmas[scheduler.step_index or 0].double()
        x0 = world(x, sigma.expand(len(x)))
        eps = (x - x0) / sigma
        return eps if spelling == "epsilon" else (eps - sigma * x0) / (1 + sigma**2).sqrt()

    return output


@pytest.mark.parametrize("spelling", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("steps", [2, 7, 30])
def test_euler_equals_that_of_diffusers(spelling: str, steps: int):
    scheduler = EulerDiscreteScheduler(**CONFIG, prediction_type=spelling, use_karras_sigmas=True)
    sigmas, world = levels_of(scheduler, steps), world_on(EDM())
    times = Karras(sigmas[-2].item(), sigmas[0].item()).steps(steps)
    x = start(sigmas[0].item())
    assert close(Euler()(world, x, times), drive(scheduler, x, at_level(scheduler, world, spelling)))


@pytest.mark.parametrize("spelling", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("steps", [2, 7, 30])
def test_heun_equals_that_of_diffusers(spelling: str, steps: int):
    scheduler = HeunDiscreteScheduler(**CONFIG, prediction_type=spelling, use_karras_sigmas=True)
    sigmas, world = levels_of(scheduler, steps), world_on(EDM())
    assert len(scheduler.timesteps) == Heun().calls(steps)
    times = Karras(sigmas[-2].item(), sigmas[0].item()).steps(steps)
    x = start(sigmas[0].item())
    assert close(Heun()(world, x, times), drive(scheduler, x, at_level(scheduler, world, spelling)))


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 4, 28])
def test_flow_sampler_equals_that_of_diffusers(shift: float, steps: int):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=torch.linspace(1, 1 / steps, steps).tolist())
    path = Linear(shift)
    world = world_on(path)

    def output(x: Tensor, label: Tensor) -> Tensor:
        t = path.time(-2 * torch.logit(label.double() / 1000).expand(len(x)))
        return Velocity().output(path, world(x, t), x, t)

    theirs = drive(scheduler, start(1), output)
    assert close(DDIM()(world, start(1), Trailing(1.0).steps(steps)), theirs)
    if shift == 1:
        assert close(Euler()(world, start(1), Trailing(1.0).steps(steps)), theirs)
