"""Schedules and laws of times."""

import math

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler

from fewstep.errors import RecipeError
from fewstep.process import EDM, Linear
from fewstep.testing import PATHS
from fewstep.times import (
    Along,
    Explicit,
    Karras,
    LogitNormal,
    LogNormal,
    LogStudentT,
    Milestones,
    Schedule,
    Straight,
    Trailing,
    Uniform,
    between,
    grid,
)

SCHEDULES = [
    Karras(),
    Uniform(1.0, 1000.0),
    Trailing(1000.0),
    Trailing(80.0, 7.0),
    Explicit((999.0, 749.0, 499.0, 249.0)),
]
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


LAWS = [LogNormal(), LogitNormal(), Along(Karras()), Straight(), LogStudentT(0.01, 80.0)]


@pytest.mark.parametrize("law", LAWS, ids=lambda each: type(each).__name__)
def test_laws_are_quantile_functions(law):
    t = law.times(EDM(), MIDDLES)
    assert t.dtype == torch.float64
    assert (t.diff() >= 0).all()
    assert t.min() > 0


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("ends", [(0.0, 1.0), (0.2, 0.8)])
def test_straight_is_uniform_on_the_clock_of_rectified_flow(path, ends: tuple[float, float]):
    low, high = ends
    t = Straight(low, high).times(path, MIDDLES)
    place = path.sigma(t) / (path.alpha(t) + path.sigma(t))
    wanted = low + (high - low) * MIDDLES
    last = path.sigma(torch.tensor([path.t_max]).double())
    end = last / (path.alpha(torch.tensor([path.t_max]).double()) + last)
    assert torch.allclose(place, wanted.clamp_max(end), rtol=1e-6, atol=1e-9)


def test_log_student_t_has_the_quantiles_of_truncated_consistency():
    """TCM with t' = 1, T = 80: half of the times lie below 1.23, and the tail is heavy."""
    eighths = torch.arange(1, 8, dtype=torch.float64) / 8
    t = LogStudentT(1.0, 80.0).times(EDM(), eighths)
    assert [round(time, 3) for time in t.tolist()] == [1.016, 1.043, 1.097, 1.221, 1.536, 2.524, 7.449]
    ends = LogStudentT(1.0, 80.0).times(EDM(), torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert ends.tolist() == pytest.approx([1, 80])


def test_log_student_t_of_many_degrees_is_the_normal_law():
    t = LogStudentT(1e-4, 1e3, df=1e6, mean=-1.2, std=1.2).times(EDM(sigma_max=1e3), MIDDLES)
    assert torch.allclose(t, LogNormal().times(EDM(sigma_max=1e3), MIDDLES), rtol=1e-2)


@pytest.mark.parametrize("path", [PATHS["linear"], PATHS["vp cosine"]], ids=["linear", "vp cosine"])
def test_log_student_t_states_noise_levels_on_every_path(path):
    t = LogStudentT(0.5, 8.0).times(path, MIDDLES[::100])
    level = (-path.logsnr(t) / 2).exp()
    assert torch.allclose(level, LogStudentT(0.5, 8.0).times(EDM(), MIDDLES[::100]), rtol=1e-7)


def test_milestones_are_the_points_alike():
    schedule = Karras()
    t = Milestones(schedule, 4).times(EDM(), MIDDLES)
    found, counts = t.unique(return_counts=True)
    assert torch.equal(found.flip(0), schedule.points(4))
    assert counts.tolist() == [5000] * 4


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_between_keeps_its_ends_to_the_last_bit(path, steps: int):
    t = path.t_max * torch.tensor([0.9, 0.7, 0.31, 0.2], dtype=torch.float64)
    r = path.t_max * torch.tensor([0.4, 0.69, 0.01, 0.0], dtype=torch.float64)
    times = between(path, t, r, steps)
    assert times.shape == (steps + 1, 4)
    assert torch.equal(times[0], t)
    assert torch.equal(times[-1], r)
    assert (times.diff(dim=0) < 0).all()


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_between_is_even_in_the_log_of_the_noise_level_and_on_the_clock_towards_0(path):
    t = path.t_max * torch.tensor([0.9, 0.7, 0.31], dtype=torch.float64)
    r = path.t_max * torch.tensor([0.4, 0.05, 0.0], dtype=torch.float64)
    times = between(path, t, r, 4)
    for item in (0, 1):
        steps = path.logsnr(times[:, item]).diff()
        assert torch.allclose(steps, steps.mean().expand(4), rtol=1e-6)
    assert times[:, 2].tolist() == pytest.approx((t[2] * torch.linspace(1, 0, 5).double()).tolist())


def test_between_is_geometric_where_the_clock_is_the_noise_level():
    times = between(EDM(), torch.tensor([8.0]).double(), torch.tensor([0.5]).double(), 4)
    assert times[:, 0].tolist() == pytest.approx([8, 4, 2, 1, 0.5])


@schedules
def test_grid_stands_at_even_places_and_holds_every_coarser_one(schedule: Schedule):
    assert grid(schedule, 3)[0] == schedule.at(torch.tensor(1.0).double())
    for cells in (1, 2, 12, 29):
        assert torch.allclose(grid(schedule, 3 * cells)[::3], grid(schedule, cells), rtol=1e-13)


@pytest.mark.parametrize("rho", [1.0, 7.0])
def test_trailing_is_the_grid_of_karras_down_to_0(rho: float):
    assert torch.allclose(Trailing(80.0, rho).steps(6), Karras(0.0, 80.0, rho).at(torch.linspace(1, 0, 7).double()))
    assert torch.allclose(grid(Trailing(80.0, rho), 6), Trailing(80.0, rho).steps(6), rtol=1e-14)
