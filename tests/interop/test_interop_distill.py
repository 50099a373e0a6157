"""Pipelines go through the whole machinery: recipe, run folder, adapter, reload; on either clock, named or not."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, LCMScheduler
from safetensors.torch import save_file
from tiny import built, random_lora

import fewstep as fs
from fewstep.cli.training import few_step_settings
from fewstep.export.student import Student
from fewstep.export.timetable import timetable
from fewstep.interop import Encoded, open_pipe
from fewstep.interop.published import ELSEWHERE, PUBLISHED, as_published, published
from fewstep.jobs.models import model_at, pipe_of
from fewstep.jobs.pipelines import Asked, opened, started, starting, weighed
from fewstep.jobs.suited import computed, fitting
from fewstep.jobs.weigh import at_weight
from fewstep.recipes import load_recipe, read
from fewstep.sampling import FewStep
from fewstep.scalars import Progress
from fewstep.terms import Consistency
from fewstep.times import Rectified
from fewstep.training import BackwardSimulation

BRIEF = ("steps=4", "batch=4", "looks=1", "judged=16", "learners.student.lora.rank=2")


def options(out: Path, cache: Path, *settings: str) -> fs.Options:
    return fs.Options(out, settings=(*BRIEF, *settings), show=False, cache=cache)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where that student lies; do not write into it."""
    return tmp_path_factory.mktemp("runs") / "student"


@pytest.fixture(scope="module")
def student(data: Encoded, run: Path, cache: Path) -> fs.Model:
    return fs.distill(data.pipe.model(2, 2.0), data, options(run, cache), "lcm-lora")


def test_student_is_saved_and_loaded(folder: Path, data: Encoded, student: fs.Model, run: Path) -> None:
    teacher = data.pipe.model(2, 2.0)
    again, c = fs.load_model(run), data.pipe.prompts(["a red disc"])
    assert again.sample([1], c).equal(student.sample([1], c))
    assert not torch.allclose(again.sample([1], c), replace(student, view=teacher.view).sample([1], c))
    assert again.facts["pipeline"] == str(folder)
    assert "guidance range" not in again.facts
    assert pipe_of(again).size == (16, 16)
    adapted = fs.load_lora(run, teacher)
    torch.testing.assert_close(adapted.sample([1], c), student.sample([1], c), atol=1e-4, rtol=1e-4)


@pytest.mark.slow  # tests/interop/test_interop_own_network.py has a network of one's own of another class
def test_bridge_and_a_network_of_ones_own_become_the_same_student(
    data: Encoded, student: fs.Model, tmp_path: Path, cache: Path
) -> None:
    own = replace(data.pipe.model(2, 2.0), network={})
    second = fs.distill(own, data, options(tmp_path, cache), "lcm-lora")
    theirs = dict(second.view.net.named_parameters())
    assert all(weight.equal(theirs[name]) for name, weight in student.view.net.named_parameters())


@pytest.mark.slow  # tests/export/test_export_recipes.py trains others of noise levels
def test_recipe_of_noise_levels_runs_on_a_pipeline(data: Encoded, tmp_path: Path, cache: Path) -> None:
    settings = ("steps=4", "batch=4", "looks=1", "judged=16")
    teacher = fitting(data.pipe.model(2, 2.0), load_recipe("cd"))
    student = fs.distill(teacher, data, fs.Options(tmp_path, settings=settings, show=False, cache=cache), "cd")
    c = data.pipe.prompts(["a red disc"])
    assert fs.load_model(tmp_path).sample([1], c).equal(student.sample([1], c))


@pytest.mark.parametrize(("steps", "labels"), [(3, [999, 665, 332]), (5, [999, 799, 599, 399, 199]), (4, None)])
def test_every_number_of_steps_is_a_part_of_the_walk_that_was_learned(
    data: Encoded, steps: int, labels: list[int] | None
) -> None:
    """At whole time steps, where stock schedulers can ask: a third of 1000 is none, half of it none of three steps."""
    teacher, dial = data.pipe.model(), few_step_settings(read("dmd2-text"), steps)
    own = [each for each in computed("dmd2-text", dial, teacher) if "schedule" in each]
    recipe = load_recipe("dmd2-text", [*dial, *own])
    walk, sampler = recipe.rollout.schedule.points(recipe.rollout.steps), recipe.sampler
    assert (bool(own), sampler.made_for[0]) == (labels is not None, steps)
    for count in sampler.made_for:
        assert set(sampler.schedule.points(count).tolist()) <= set(walk.tolist())
    assert labels in (None, teacher.view.process.label(walk).tolist())
    student = Student.unmerged(replace(teacher, sampler=sampler), data.pipe)
    assert len(timetable(student, sampler.made_for).seen[steps]) == steps


def test_rollout_of_noise_levels_stops_where_the_sampler_does(data: Encoded) -> None:
    recipe = load_recipe("tdm", computed("tdm", [], data.pipe.model()))
    assert recipe.rollout.schedule == recipe.sampler.schedule


def test_clock_follows_the_recipe(data: Encoded) -> None:
    teacher = data.pipe.model()
    assert fitting(teacher, load_recipe("lcm-lora")) is teacher
    assert fitting(teacher, load_recipe("cd")).view.process.t_max > 10


def test_pipeline_on_levels_samples_the_same(data: Encoded) -> None:
    teacher = data.pipe.model(4, 2.0)
    moved, c = fitting(teacher, load_recipe("cd")), data.pipe.prompts(["a red disc"])
    torch.testing.assert_close(moved.sample([1], c), teacher.sample([1], c), atol=1e-4, rtol=1e-4)


def test_guidance_of_the_pipeline_is_the_teachers(folder: Path) -> None:
    _, teacher = opened(Asked(str(folder), guidance=3.0))
    assert computed("lcm-lora", [], teacher) == ["frozen.teacher.guidance=[{cfg: 3.0}]"]
    assert computed("lcm-lora", [], opened(Asked(str(folder), guidance=1.0))[1]) == []
    assert computed("lcm-lora", ["frozen.teacher.guidance=[{cfg: 2}]"], teacher) == []


def test_guidance_reaches_stored_pairs_and_the_stage_before_and_no_student_of_it(folder: Path) -> None:
    _, teacher = opened(Asked(str(folder), guidance=3.0))
    told = [setting for setting in computed("instaflow", [], teacher) if "guidance" in setting]
    assert told == ["begins.pairs.guidance=[{cfg: 3.0}]"]
    assert "pairs.guidance=[{cfg: 3.0}]" in computed("hipa", [], teacher)


@pytest.mark.parametrize(
    ("name", "learned"), [("lcm", (1, 5)), ("dmd2-text", (3, 3)), ("hipa", (3, 3)), ("swiftbrush", (3, 3))]
)
def test_student_knows_the_guidance_that_it_learned_under(name: str, learned: tuple[float, float], folder: Path):
    _, teacher = opened(Asked(str(folder), guidance=3.0))
    assert load_recipe(name, computed(name, [], teacher)).guidance_range == learned
    assert load_recipe("cd").guidance_range is None


def test_scales_that_terms_draw_are_about_that_of_the_pipeline_unless_they_are_given(folder: Path) -> None:
    _, teacher = opened(Asked(str(folder), guidance=3.0))
    told = [setting for setting in computed("lcm", [], teacher) if "scale" in setting]
    place = "learners.student.objective.0.consistency.guide.scales"
    assert told == [f"{place}.low=1.0", f"{place}.high=5.0", "sampler.few_step.scale=3.0"]
    assert f"{place}.high=5.0" not in computed("lcm", [f"{place}.high=4"], teacher)
    place = "learners.student.objective.0.distribution_matching.guide.hidden_scales"
    told = [setting for setting in computed("snoopi", [], teacher) if "scale" in setting]
    assert told == [f"{place}.low=1.0", f"{place}.high=5.0"]


@pytest.mark.parametrize("name", ["dmd2-no-gan", "reflow", "lcm", "mlcm", "nitrofusion"])
def test_noise_levels_are_moved_to_whole_time_steps(name: str, folder: Path) -> None:
    _, teacher = opened(Asked(str(folder), guidance=1.0))
    settings = computed(name, [], teacher)
    recipe, before = load_recipe(name, settings), load_recipe(name)
    process = fitting(teacher, before).view.process
    for asked, meant in ((recipe.sampler, before.sampler), (recipe.rollout, before.rollout)):
        if isinstance(asked, FewStep | BackwardSimulation) and isinstance(meant, FewStep | BackwardSimulation):
            count = max(asked.steps) if isinstance(asked, FewStep) else asked.steps
            levels, schedule = asked.schedule.points(count), meant.schedule
            if isinstance(schedule, Rectified):
                schedule = replace(schedule, high=min(schedule.high, process.t_max))
            labels, wanted = process.label(levels), schedule.points(count).clamp_max(process.t_max)
            torch.testing.assert_close(labels, labels.round(), atol=1e-6, rtol=0)
            away = process.label(wanted) - labels
            assert (away > -1e-6).all()
            assert (away < 1).all()


@pytest.mark.parametrize(
    ("name", "free"), [("cd", True), ("lcm", True), ("tcd", True), ("pcm", False), ("mlcm", False)]
)
def test_cells_end_where_the_student_is_sampled(name: str, free: bool, folder: Path) -> None:
    """Not of those whose ends are a trajectory's that is stored, or those of segments."""
    _, teacher = opened(Asked(str(folder), guidance=1.0))
    recipe = load_recipe(name, computed(name, [], teacher))
    (term,) = (term for _, term in recipe.learners["student"].objective.items() if isinstance(term, Consistency))
    cells, asked = term.pairs, recipe.sampler.grid()
    assert cells.through == (tuple(asked) if free else ())
    if free:
        t, _ = cells.draw(teacher.view.process, torch.linspace(0, 1, 20_000, dtype=torch.float64), Progress(1, 2))
        assert {*asked} < {*t.tolist()}


@pytest.mark.parametrize("name", ["add", "ufogen"])
def test_lowest_noise_level_is_one_that_every_stock_scheduler_asks_at(name: str, folder: Path) -> None:
    """Time step 0 is none: LCMScheduler takes what it is given there for the data."""
    _, teacher = opened(Asked(str(folder), guidance=1.0))
    recipe = load_recipe(name, computed(name, [], teacher))
    labels = fitting(teacher, recipe).view.process.label(recipe.sampler.schedule.points(4))
    assert labels.min().round(decimals=6) == 1


def test_pure_noise_is_what_stock_pipelines_start_from(data: Encoded) -> None:
    teacher, z = data.pipe.model(), torch.randn(2, 4, 8, 8)
    moved, level = fitting(teacher, load_recipe("cd")).view, torch.tensor([2.5, 0.3], dtype=torch.float64)
    assert teacher.view.process.prior(z, torch.tensor([0.7, 1.0], dtype=torch.float64)).equal(z)
    fed = moved.prediction.input(moved.process, moved.process.prior(z, level), level)
    torch.testing.assert_close(fed, z)


def test_published_adapter_is_where_the_student_begins(
    folder: Path, data: Encoded, tmp_path: Path, cache: Path
) -> None:
    asked = Asked(str(folder), start=random_lora(folder, tmp_path / "lora"), like="dmd2", guidance=2.0)
    teacher, start = data.pipe.model(2, 2.0), started(asked)
    assert start is not None
    assert (start.sampler.made_for, start.sampler.schedule.points(4).tolist()) == ((4,), [1.0, 0.75, 0.5, 0.25])
    still = ("learners.student.optimiser.adam.lr=0", "steps=2", "batch=4", "looks=1", "judged=16")
    run = fs.Options(tmp_path / "run", settings=(*starting(start), *still), show=False, cache=cache)
    student, c = fs.distill(teacher, data, run, "lcm-lora", start), data.pipe.prompts(["a red disc"])
    assert student.sample([1], c).equal(start.sample([1], c))
    assert not torch.allclose(student.sample([1], c), replace(start, view=teacher.view).sample([1], c))


def test_published_adapter_lies_on_top_of_a_style(folder: Path, tmp_path: Path) -> None:
    """As two merged one after the other, by weights and by what an export is told of them."""
    style, lora = random_lora(folder, tmp_path / "style"), random_lora(folder, tmp_path / "lora")
    start = started(Asked(str(folder), style=(style,), start=lora, guidance=2.0))
    assert start is not None
    both, alone = open_pipe(folder, lora=[style, lora]), open_pipe(folder, lora=lora)
    assert start.facts["style"] == [str(style), str(lora)]
    c = both.prompts(["a red disc"])
    drawn = [replace(model, sampler=start.sampler).sample([1], c) for model in (start, both.model(), alone.model())]
    assert drawn[0].equal(drawn[1])
    assert not torch.allclose(drawn[0], drawn[2])


def test_a_name_without_an_adapter_is_refused() -> None:
    with pytest.raises(fs.RecipeError, match="Give --start LORA"):
        started(Asked("x", like="lcm"))


def test_published_settings_have_a_name_and_a_path(data: Encoded) -> None:
    with pytest.raises(fs.RecipeError, match=r"no published settings 'dmd'; did you mean 'dmd2'"):
        as_published(data.pipe.model(), "dmd")
    flow = data.pipe.model()
    flow = replace(flow, view=replace(flow.view, process=fs.Linear(3.0)))
    with pytest.raises(fs.RecipeError, match="are for Stable Diffusion's path"):
        as_published(flow, "lcm")


def test_documents_name_all_published_settings() -> None:
    text = (Path(__file__).parents[2] / "docs" / "pipelines.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    assert {*PUBLISHED} <= {name for row in rows for name in row.replace("`", "").replace(" ", "").split(",")}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_nobody_can_begin_with_is_refused_by_name(name: str) -> None:
    with pytest.raises(fs.RecipeError, match=f"cannot begin with '{name}': it "):
        published(name)


@pytest.mark.parametrize("name", ["hyper-1", "hyper-4", "hyper-12-cfg", "lightning-2"])
def test_published_even_steps_are_those_of_trailing_spacing(name: str, data: Encoded) -> None:
    model, (steps,) = as_published(data.pipe.model(), name), PUBLISHED[name].steps
    scheduler = DDIMScheduler(timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    labels = model.view.process.label(model.sampler.schedule.points(steps))
    assert labels.round(decimals=6).tolist() == scheduler.timesteps.tolist()
    assert (model.sampler.gamma, model.sampler.eta) == (0.0, None)


def test_published_guidance_and_share_of_time_travel_into_the_recipe(data: Encoded) -> None:
    for name, guidance, eta in (("hyper-8-cfg", (fs.CFG(5.0),), None), ("tcd", (), 0.3), ("hyper-unified", (), 1.0)):
        model = as_published(data.pipe.model(), name)
        assert (model.sampler.guidance, model.sampler.eta, model.sampler.scale) == (guidance, eta, None)
        recipe = load_recipe("lcm-lora", starting(model))
        assert recipe.sampler == model.sampler
        assert recipe.learners["student"].lora is not None


def test_published_adapter_of_flux_has_its_times_scale_and_weight(data: Encoded, tmp_path: Path) -> None:
    built("flux").save_pretrained(tmp_path)
    pipe = open_pipe(tmp_path, (32, 32))
    model = as_published(pipe.model(), "hyper-flux-8")
    assert (model.sampler.scale, model.sampler.guidance, PUBLISHED["hyper-flux-8"].weight) == (3.5, (), 0.125)
    labels = model.view.process.sigma(model.sampler.schedule.points(8)).float()
    scheduler = FlowMatchEulerDiscreteScheduler(shift=pipe.path[0].shift)
    scheduler.set_timesteps(sigmas=[1 - i / 8 for i in range(8)])
    torch.testing.assert_close(labels, scheduler.sigmas[:-1])
    assert load_recipe("lcm-lora", starting(model)).sampler == model.sampler
    with pytest.raises(fs.RecipeError, match="are for the straight path of Flux, and this pipeline lives on VP"):
        as_published(data.pipe.model(), "hyper-flux-8")


# --- adapters at a weight


def change(folder: Path, style: tuple[Path, ...]) -> dict[str, torch.Tensor]:
    """What an adapter adds to the weights of the pipeline."""
    plain, styled = (dict(open_pipe(folder, lora=each).backbone.named_parameters()) for each in (None, style))
    return {name: styled[name] - weight for name, weight in plain.items() if not weight.equal(styled[name])}


def test_adapter_is_merged_at_its_weight(folder: Path, tmp_path: Path) -> None:
    style = random_lora(folder, tmp_path / "style")
    whole, half = (
        change(folder, weighed(Asked(str(folder), style=(Path(f"{style}{weight}"),)), tmp_path).style)
        for weight in ("", ":-0.5")
    )
    assert whole.keys() == half.keys()
    assert all(torch.allclose(half[name], -0.5 * whole[name], atol=1e-6) for name in whole)
    assert weighed(Asked(str(folder), style=(style,)), tmp_path).style == (style,)
    assert at_weight("a:b/c", tmp_path) == Path("a:b/c")


def test_styles_of_one_name_are_weighed_apart(folder: Path, tmp_path: Path) -> None:
    styles = [random_lora(folder, tmp_path / place / "style") for place in "ab"]
    both = weighed(Asked(str(folder), style=tuple(Path(f"{style}:0.5") for style in styles)), tmp_path / "run").style
    one, other = (change(folder, (style,)) for style in styles)
    found = change(folder, both)
    assert all(torch.allclose(found[name], (one[name] + other[name]) / 2, atol=1e-6) for name in one)


def test_published_weight_is_the_default_of_its_adapter(folder: Path, tmp_path: Path) -> None:
    start = random_lora(folder, tmp_path / "lora")
    asked = Asked(str(folder), start=start, like="hyper-flux-8")
    assert weighed(asked, tmp_path).start == tmp_path / "lora-at-0.125.safetensors"
    assert weighed(replace(asked, start=Path(f"{start}:1")), tmp_path).start == start


def test_adapters_that_cannot_be_weighed_or_begun_with_are_refused(tmp_path: Path) -> None:
    save_file({"unet.a.hada_w1_a": torch.ones(1)}, tmp_path / "loha.safetensors")
    with pytest.raises(fs.WeightsError, match=r"weight 0.5, but holds unet.a.hada_w1_a, which is not low-rank"):
        at_weight(tmp_path / "loha.safetensors:0.5", tmp_path)
    with pytest.raises(fs.WeightsError, match="no LoRA file that can be read"):
        at_weight(tmp_path / "nothing.safetensors:0.5", tmp_path)
    save_file({"text_encoder.a.lora_A.weight": torch.ones(1)}, tmp_path / "text.safetensors")
    with pytest.raises(fs.WeightsError, match=r"changes a text encoder too \(text_encoder.a"):
        started(Asked("x", start=tmp_path / "text.safetensors"))


@pytest.mark.parametrize("name", ["lcm", "tcd", "hyper-unified"])
def test_published_time_steps_are_those_of_the_scheduler(name: str, data: Encoded) -> None:
    model = as_published(data.pipe.model(), name)
    for steps in PUBLISHED[name].steps:
        scheduler = LCMScheduler()
        scheduler.set_timesteps(steps)
        labels = model.view.process.label(model.sampler.schedule.points(steps))
        assert labels.round(decimals=6).tolist() == scheduler.timesteps.tolist()


def test_model_in_a_folder_may_be_a_pipeline(folder: Path) -> None:
    assert model_at(folder).facts["pipeline"] == str(folder)


def test_model_without_a_pipeline_has_none(data: Encoded) -> None:
    with pytest.raises(fs.DataError, match="no student of a diffusers pipeline"):
        pipe_of(replace(data.pipe.model(), facts={}))
