"""The saved scheduler asks at the time steps of the training, by itself where it can; what it cannot do is refused."""

from collections.abc import Callable
from dataclasses import replace

import diffusers
import pytest
import torch
from students import ASKED, adapted, few_step

import fewstep as fs
from fewstep.export import Student
from fewstep.export.proof import prove
from fewstep.export.timetable import _lcm_grid, timetable
from fewstep.interop import Pipe, on_levels
from fewstep.predict import EDM, X0
from fewstep.process import Linear
from fewstep.sampling import FewStep
from fewstep.times import Explicit, Schedule, Trailing

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Euler, in diffusers
Sampled = Callable[..., Student]
DMD2 = Explicit((1.0, 0.75, 0.5, 0.25))


@pytest.fixture
def sampled(student: Callable[[str], Student]) -> Callable[..., Student]:
    """A student of a pipeline that is sampled so."""

    def get(name: str, gamma: float | None, schedule: Schedule, steps: tuple[int, ...]) -> Student:
        found = student(name)
        share = {"eta": 0.3} if gamma is None else {"gamma": gamma}
        return replace(found, model=replace(found.model, sampler=FewStep(schedule, steps, **share)))

    return get


@pytest.mark.parametrize(
    ("steps", "original"), [((4, 2, 1), 4), ((1,), 1), ((8, 4, 2, 1), 8), ((1, 2), 2), ((5,), 5), ((4, 5), 20)]
)
def test_lcm_takes_the_trained_grid_by_itself(sampled: Sampled, steps: tuple[int, ...], original: int) -> None:
    gamma = 0.0 if max(steps) == 1 else 1.0
    table = timetable(sampled("sd", 1.0, Trailing(1.0), steps), steps)
    assert (type(table.scheduler).__name__ == "LCMScheduler") == (gamma == 1)
    assert table.told == {count: {} for count in steps}
    if gamma == 1:
        assert table.scheduler.config.original_inference_steps == original
    for count in steps:
        table.scheduler.set_timesteps(count)
        assert table.scheduler.timesteps.tolist() == table.seen[count]


def test_dmd2_time_steps_are_the_default_ones(sampled: Sampled) -> None:
    table = timetable(sampled("sd", 1.0, DMD2, (4, 1)), (4, 1))
    assert table.seen == {4: [999.0, 749.0, 499.0, 249.0], 1: [999.0]}
    assert table.told == {4: {}, 1: {}}


@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_odd_time_steps_are_told(sampled: Sampled, gamma: float) -> None:
    table = timetable(sampled("sd", gamma, Explicit((1.0, 0.8, 0.44)), (3,)), (3,))
    assert table.told == {3: {"timesteps": [999, 799, 439]}}
    assert type(table.scheduler).__name__ == ("LCMScheduler" if gamma else "EulerDiscreteScheduler")


@pytest.mark.parametrize(("original", "count"), [(50, 4), (4, 4), (4, 2), (20, 3), (1000, 7), (333, 8), (8, 1)])
def test_grid_is_that_of_lcm(original: int, count: int) -> None:
    scheduler = diffusers.LCMScheduler(original_inference_steps=original)
    scheduler.set_timesteps(count)
    assert scheduler.timesteps.tolist() == _lcm_grid(original, count)


def test_lcm_mixes_next_to_nothing_of_x_into_the_data(sampled: Sampled) -> None:
    scheduler = timetable(sampled("sd", 1.0, Trailing(1.0), (4,)), (4,)).scheduler
    skip, out = scheduler.get_scalings_for_boundary_condition_discrete(torch.tensor(1))
    assert skip < 1e-8
    assert abs(out - 1) < 1e-8


def test_ddim_ends_at_the_data_and_clips_nothing(sampled: Sampled) -> None:
    config = timetable(sampled("sd-v", 0.0, Trailing(1.0), (4,)), (4,)).scheduler.config
    assert (config.set_alpha_to_one, config.clip_sample, config.thresholding) == (True, False, False)
    assert (config.prediction_type, config.rescale_betas_zero_snr, config.timestep_spacing) == (
        "v_prediction", True, "trailing",
    )  # fmt: skip


def test_prediction_of_the_student_counts(sampled: Sampled) -> None:
    found = sampled("sd", 0.0, Trailing(1.0), (4,))
    model = replace(found.model, view=replace(found.model.view, prediction=X0()))
    assert timetable(replace(found, model=model), (4,)).scheduler.config.prediction_type == "sample"


def test_flux_walks_by_itself_with_the_shift_of_its_size(sampled: Sampled) -> None:
    found = sampled("flux", 0.0, Trailing(1.0), (4,))
    table, process = timetable(found, (4,)), found.pipe.path[0]
    assert table.told == {4: {}}
    assert (table.scheduler.config.shift, table.scheduler.config.use_dynamic_shifting) == (table.shift, False)
    assert isinstance(process, Linear)
    assert table.shift == process.shift != 1


@pytest.mark.parametrize(("name", "schedule"), [("sd3", Trailing(1.0)), ("flux", Explicit((1.0, 0.6)))])
def test_other_flows_are_told_sigmas_as_they_are(sampled: Sampled, name: str, schedule: Schedule) -> None:
    table = timetable(sampled(name, 1.0, schedule, (2,)), (2,))
    sigmas = table.told[2]["sigmas"]
    assert sigmas == pytest.approx(table.sigmas[2], abs=1e-8)
    table.scheduler.set_timesteps(sigmas=sigmas)
    assert table.scheduler.sigmas.tolist() == pytest.approx([*table.sigmas[2], 0], abs=1e-6)
    assert table.scheduler.config.stochastic_sampling


@pytest.mark.parametrize(("gamma", "times"), [(0.0, (0.7, 0.45)), (1.0, (1.0, 0.75, 0.5, 0.25))])
def test_student_on_the_clock_of_noise_levels_is_exported_on_its_pipelines(
    pipe: Callable[[str], Pipe], gamma: float, times: tuple[float, ...]
) -> None:
    base, steps = pipe("sd"), (len(times),)
    own = replace(few_step(base, adapted(base), gamma, Explicit(times)), facts={})
    own = replace(own, sampler=FewStep(Explicit(times), steps, gamma))
    moved = on_levels(own)
    found, meant = Student.of(moved, base), Student.of(own, base)
    assert timetable(found, steps).seen == timetable(meant, steps).seen
    there, wanted = prove(found, timetable(found, steps), ASKED), prove(meant, timetable(meant, steps), ASKED)
    torch.testing.assert_close(there.images[steps[0]], wanted.images[steps[0]], atol=1e-5, rtol=0)
    c, seeds = base.prompts(list(ASKED.prompts)), [0, 1]
    sampled = base.decode(moved.sample(seeds, c)).permute(0, 2, 3, 1) / 2 + 0.5
    torch.testing.assert_close(sampled, wanted.images[steps[0]], atol=1e-5, rtol=0)


# --- refusals


@pytest.mark.parametrize(
    ("name", "gamma", "schedule", "steps", "words"),
    [
        ("sd", 0.0, Trailing(1.0), (3,), r"trained at the time steps .*665.666667.* whole numbers .*Give --steps"),
        ("sd", 1.0, Trailing(1.0), (3,), r"665.666667"),
        ("dit", 1.0, Explicit((1.0, 0.8, 0.44)), (3,), r"no stock scheduler asks in the pipeline DiTPipeline"),
        ("sd", 0.3, Trailing(1.0), (4,), r"gamma 0.3\), which no stock scheduler does: TCDScheduler.*gamma 0 and 1"),
        ("sd3", None, Trailing(1.0), (4,), r"eta 0.3\), as TCDScheduler does, .*variance-preserving path only"),
        ("dit", None, Trailing(1.0), (4,), r"eta 0.3\), but DiTPipeline tells its scheduler no eta"),
        ("sd", 1.0, Explicit((1.0, 0.001)), (2,), r"nothing of time step 0"),
    ],
)
def test_what_no_scheduler_does_is_refused(
    sampled: Sampled, name: str, gamma: float | None, schedule: Schedule, steps: tuple[int, ...], words: str
) -> None:
    with pytest.raises(fs.WeightsError, match=words):
        timetable(sampled(name, gamma, schedule, steps), steps)


def test_share_of_noise_plays_no_part_in_one_step(sampled: Sampled) -> None:
    assert not timetable(sampled("sd", 0.3, Trailing(1.0), (1, 4)), (1,)).stochastic


def test_steps_that_it_was_not_made_for_are_refused(sampled: Sampled) -> None:
    with pytest.raises(fs.WeightsError, match=r"made for \[4, 2\] steps; asked for were \[8\]"):
        timetable(sampled("sd", 0.0, Trailing(1.0), (4, 2)), (4, 8))


def test_unknown_prediction_is_refused(sampled: Sampled) -> None:
    for name, known in (("sd", "Eps, V and X0"), ("sd3", "Velocity")):
        found = sampled(name, 0.0, Trailing(1.0), (4,))
        model = replace(found.model, view=replace(found.model.view, prediction=EDM()))
        with pytest.raises(fs.WeightsError, match=f"predicts EDM, .*{known}"):
            timetable(replace(found, model=model), (4,))


def test_other_process_is_refused(sampled: Sampled) -> None:
    found = sampled("sd", 0.0, Trailing(1.0), (4,))
    model = replace(
        found.model, view=replace(found.model.view, process=replace(found.model.view.process, sigma_data=0.5))
    )
    with pytest.raises(fs.WeightsError, match="not the path of its pipeline's scheduler"):
        timetable(replace(found, model=model), (4,))
