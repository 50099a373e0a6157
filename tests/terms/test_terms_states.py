"""Where the noisy states of a cost come from: their laws, exactly, on Gaussians."""

import math

import pytest
import torch
from torch import Tensor

from fewstep.batch import Batch
from fewstep.flowmap import FlowMap
from fewstep.process import Process
from fewstep.sampling import few_step
from fewstep.solvers import DDIM, Heun
from fewstep.terms import Diffused, OwnSamples, TeacherPath
from fewstep.testing import PATHS, Counted, Gaussian, Given, Jump
from fewstep.times import Along, Explicit, Trailing, Uniform, between
from fewstep.training import FromData, OneStep
from fewstep.turn import Noised, Turn

MEAN, STD = 0.4, 0.5
paths = pytest.mark.parametrize("name", ["edm", "linear", "trigflow", "vp cosine"])


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def sources(count: int) -> list[Tensor]:
    """Numbers in the place of ``count`` independent normals, for rules that are affine in them.

    Item 0 gets none; item k has the k-th at one deviation.
    """
    numbers = torch.zeros(count, 1 + count, 1, dtype=torch.float64)
    for i in range(count):
        numbers[i, 1 + i] = 1
    return list(numbers)


def moments(x: Tensor) -> tuple[float, float]:
    """Return mean and deviation of what is affine in the sources."""
    return x[0].item(), (x[1:] - x[:1]).norm().item()


def turn_of(student, teacher, items: int, normals: list[Tensor], x0: Tensor | None = None) -> Turn:
    data = torch.zeros(items, 1, dtype=torch.float64) if x0 is None else x0
    return Turn("student", {"student": student, "teacher": teacher}, Batch(data), Given(normals), OneStep(1.0))


def slope(path: Process, times: Tensor) -> float:
    """Return the product of the slopes of the DDIM steps of the exact denoiser."""
    alpha, sigma = path.alpha(times), path.sigma(times)
    keep = sigma[1:] / sigma[:-1]
    share = alpha[:-1] * STD**2 / (alpha[:-1] ** 2 * STD**2 + sigma[:-1] ** 2)
    return (keep + (alpha[1:] - alpha[:-1] * keep) * share).prod().item()


@paths
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_teachers_path_has_the_variance_of_its_steps(name: str, steps: int):
    """TLCM's multistep state: the start's deviation times the product of the slopes of the DDIM steps."""
    path = PATHS[name]
    start, t = 0.97 * path.t_max, 0.4 * path.t_max * torch.ones(2, dtype=torch.float64)
    states = TeacherPath(start, steps=steps)
    teacher = Gaussian(path, column(0.0), STD)
    noised = states(turn_of(teacher, teacher, 2, sources(1)), t)
    times = between(path, column(start), t[:1], steps)[:, 0]
    begin = path.sigma(column(start)).item()
    assert moments(noised.x) == pytest.approx((0, begin * slope(path, times)), rel=1e-9, abs=1e-12)


@paths
def test_many_steps_of_the_teacher_reach_the_marginal(name: str):
    path = PATHS[name]
    t = path.time(column(2 * math.log(2))).expand(2)  # where the noise is half as large as the data's share
    teacher, spreads = Gaussian(path, column(0.0), 0.8), []  # not sigma_data, for which TrigFlow stands still
    for steps in (2, 64):
        states = TeacherPath(0.9999 * path.t_max, solver=Heun(), steps=steps)
        noised = states(turn_of(teacher, teacher, 2, sources(1)), t)
        spreads.append(abs(moments(noised.x)[1] / teacher.spread(t)[0].item() - 1))
    assert spreads[1] < 5e-3
    assert spreads[1] < 0.2 * spreads[0]


@paths
def test_clean_items_of_the_teachers_path_are_its_estimates(name: str):
    """So that the noise in x_t, the bridge along it and every cost on (x0, z) agree."""
    path = PATHS[name]
    teacher = Counted(Gaussian(path, column(MEAN), STD))
    t = path.t_max * column(0.2, 0.6)
    noised = TeacherPath(0.95 * path.t_max, steps=3)(turn_of(teacher, teacher, 2, sources(1)), t)
    assert torch.equal(noised.x0, teacher.inner(noised.x, t))
    assert torch.allclose(path.noise(noised.x0, noised.z, t), noised.x, rtol=1e-10)
    assert teacher.calls == 4
    assert TeacherPath(1.0, "other").networks() == ("other",)
    assert TeacherPath(1.0, solver=DDIM()) == TeacherPath(1.0)


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("name", ["linear", "linear shifted", "trigflow", "vp zero snr"])
def test_own_samples_keep_the_marginal_when_the_student_is_exact(name: str, steps: int):
    """Denoise, noise again, and noise to t: invariance of the sampler, from pure noise on."""
    path = PATHS[name]
    world, schedule = Gaussian(path, column(MEAN), STD), Explicit(tuple(path.t_max * v for v in (1.0, 0.7, 0.31, 0.05)))
    t = 0.4 * path.t_max * torch.ones(steps + 2, dtype=torch.float64)
    noised = OwnSamples(schedule, steps)(turn_of(Jump(world), world, steps + 2, sources(steps + 1)), t)
    wanted = (path.alpha(t)[0].item() * MEAN, world.spread(t)[0].item())
    assert moments(noised.x) == pytest.approx(wanted, rel=1e-7)
    assert moments(noised.x0) == pytest.approx((MEAN, STD), rel=1e-7)


def test_own_samples_are_those_of_the_sampler():
    path, schedule = PATHS["edm"], Trailing(20.0, 3.0)
    world = Gaussian(path, column(MEAN), 0.8)
    z = list(torch.randn(4, 5, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    noised = OwnSamples(schedule, 3)(turn_of(world, world, 5, list(z)), torch.ones(5, dtype=torch.float64))
    by_hand = few_step(FlowMap(world), 20 * z[0], schedule.steps(3), z=torch.stack(z[1:3]))
    assert torch.equal(noised.x0, by_hand)
    assert torch.equal(noised.x, by_hand + z[3])


def test_diffused_data_are_on_the_path():
    path, t = PATHS["linear"], column(0.3, 0.6)
    x0, z = torch.randn(2, 2, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    world = Gaussian(path, column(MEAN), STD)
    found = Diffused()(turn_of(world, world, 2, [z], x0), t)
    assert found == Noised(found.x0, t, found.z, found.x)
    assert torch.equal(found.x, path.noise(x0, z, t))


@paths
def test_jumps_from_noised_data_keep_the_law_of_the_data(name: str):
    """Rollout of the consistency papers: item 1 carries the data at one deviation, item 2 the noise."""
    path = PATHS[name]
    world, law = Gaussian(path, column(MEAN), STD), Along(Uniform(0.0, path.t_max), 0.4, 0.4)
    data = MEAN + STD * column(0.0, 1.0, 0.0)[:, None]
    student = Counted(Jump(world))
    draws = Given([column(0.0, 0.0, 1.0)[:, None]], [column(0.5)])
    rolled = FromData(law)(FlowMap(student), data, None, draws)
    assert moments(rolled.x0) == pytest.approx((MEAN, STD), rel=1e-7)
    assert rolled.t.tolist() == pytest.approx([0.4 * path.t_max] * 3)
    assert student.calls == 1
    assert student.asked[0][3].abs().max() == 0
