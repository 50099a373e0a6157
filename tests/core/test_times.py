"""Schedules and laws of times."""

import math

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler

from fewstep.errors import RecipeError
from fewstep.process import EDM, Linear
from fewstep.testing import PATHS
from fewstep.times import Along, Explicit, Karras, LogitNormal, LogNormal, Schedule, Trailing, Uniform

SCHEDULES = [Karras(), Uniform(1.0, 1000.0), Trailing(1000.0), Explicit((999.0, 749.0, 499.0, 249.0))]
schedules = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda each: type(each).__name__)
MIDDLES = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000  # of 20000 equal shares of a law


@schedules
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_steps_fall_from_the_first_time_to_0(schedule: Schedule, count: int):
    steps = schedule.steps(count)
    assert steps.dtype == torch.float64
    assert steps.shape == (count + 1,)
    assert (steps.diff() < 0).all()
    assert steps[-1] == 0
    assert steps[0].item() == pytest.approx(schedule.at(torch.tensor(1.0)).item())


@schedules
@pytest.mark.parametrize("count", [0, -2])
def test_no_steps_are_refused(schedule: Schedule, count: int):
    with pytest.raises(RecipeError, match="accepted are 1 and more"):
        schedule.steps(count)


@schedules
def test_a_place_moves_from_the_cleanest_to_the_noisiest(schedule: Schedule):
    times = schedule.at(torch.linspace(0, 1, 33))
    assert (times.diff() >= 0).all()
    assert times[-1] > times[0]


@pytest.mark.parametrize(
    ("count", "index", "published"),
    [
        (18, 0, 80.0),  # arXiv 2206.00364, table 1
        (18, 17, 0.002),
        (32, 17, 1.61),  # the ends of the guidance interval, arXiv 2404.07724
        (32, 22, 0.28),
        (32, 23, 0.19),
        (32, 13, 5.0),
        (32, 19, 0.84),
        (40, 22, 1.38),  # the inner times of two-step consistency models, arXiv 2303.01469
        (40, 17, 4.4),
        (201, 106, 1.91),
        (151, 67, 3.99),
        (151, 62, 5.25),
    ],
)
def test_karras_grid_meets_published_levels(count: int, index: int, published: float):
    digits = len(str(published).split(".")[1])
    assert round(Karras().points(count)[index].item(), digits) == published


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of numpy, in diffusers
@pytest.mark.parametrize("count", [2, 7, 40])
def test_karras_grid_equals_that_of_diffusers(count: int):
    theirs = EulerDiscreteScheduler(use_karras_sigmas=True)
    theirs.set_timesteps(count)
    ours = Karras(theirs.sigmas[-2].item(), theirs.sigmas[0].item()).steps(count)
    assert torch.allclose(ours, theirs.sigmas.double(), rtol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 4, 5, 20, 50])
def test_trailing_equals_that_of_diffusers(count: int):
    theirs = DDIMScheduler(timestep_spacing="trailing")
    theirs.set_timesteps(count)
    assert torch.equal(Trailing(1000.0).points(count) - 1, theirs.timesteps.double())


@pytest.mark.parametrize("count", [2, 4, 10, 28])
def test_uniform_equals_the_linspace_of_diffusers(count: int):
    theirs = DDIMScheduler(timestep_spacing="linspace")
    theirs.set_timesteps(count)
    assert torch.equal((Uniform(1.0, 1000.0).points(count) - 1).round(), theirs.timesteps.double())


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("count", [1, 4, 28])
def test_trailing_on_the_shifted_clock_equals_the_flow_schedule_of_diffusers(shift: float, count: int):
    theirs = FlowMatchEulerDiscreteScheduler(shift=shift)
    theirs.set_timesteps(sigmas=torch.linspace(1, 1 / count, count).tolist())
    assert torch.allclose(Linear(shift).sigma(Trailing(1.0).steps(count)), theirs.sigmas.double(), rtol=1e-6)


def test_explicit_times_take_every_so_manieth():
    schedule = Explicit((999.0, 749.0, 499.0, 249.0))
    wanted = {1: [999], 2: [999, 499], 3: [999, 749, 499], 4: [999, 749, 499, 249]}
    assert {count: schedule.points(count).tolist() for count in wanted} == wanted


def test_explicit_refuses_more_steps_than_it_has_times():
    with pytest.raises(RecipeError, match="5 steps were asked for, but this schedule holds 4 times"):
        Explicit((4.0, 3.0, 2.0, 1.0)).points(5)


@pytest.mark.parametrize("times", [(), (1.0, 2.0), (2.0, 2.0), (2.0, 0.0), (1.0, -1.0)], ids=str)
def test_explicit_refuses_a_list_that_does_not_fall_to_above_0(times: tuple[float, ...]):
    with pytest.raises(RecipeError, match="falls from the noisiest time"):
        Explicit(times)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_lognormal_has_its_mean_and_deviation_on_every_path(path):
    level = -path.logsnr(LogNormal(-1.2, 0.6).times(path, MIDDLES)) / 2
    assert level.mean().item() == pytest.approx(-1.2, abs=1e-3)
    assert level.std().item() == pytest.approx(0.6, rel=1e-3)


def test_lognormal_stays_on_the_clock():
    assert LogNormal(5.0, 2.0).times(EDM(), MIDDLES).max() == 80


def test_logitnormal_has_its_mean_and_deviation():
    t = LogitNormal(0.3, 0.9).times(Linear(), MIDDLES)
    logit = (t / (1 - t)).log()
    assert logit.mean().item() == pytest.approx(0.3, abs=1e-3)
    assert logit.std().item() == pytest.approx(0.9, rel=1e-3)


def test_logitnormal_fills_the_clock_of_its_path():
    t = LogitNormal().times(PATHS["vp linear"], MIDDLES)
    assert t.median().item() == pytest.approx(500, rel=1e-3)


def test_along_is_uniform_between_its_places():
    t = Along(Uniform(0.0, 1000.0)).times(PATHS["vp linear"], MIDDLES)
    assert t.min().item() == pytest.approx(20, abs=0.1)
    assert t.max().item() == pytest.approx(980, abs=0.1)
    assert t.mean().item() == pytest.approx(500, abs=0.1)
    assert t.std().item() == pytest.approx(960 / math.sqrt(12), rel=1e-3)


@pytest.mark.parametrize("law", [LogNormal(), LogitNormal(), Along(Karras())], ids=lambda each: type(each).__name__)
def test_laws_are_quantile_functions(law):
    t = law.times(EDM(), MIDDLES)
    assert t.dtype == torch.float64
    assert (t.diff() >= 0).all()
    assert t.min() > 0
