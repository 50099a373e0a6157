"""Every recipe that distils, on a tiny Stable Diffusion: exported as said before its training, or refused at once."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from students import checked, wanted

import fewstep as fs
from fewstep.data.shapes import Shapes
from fewstep.export import FORMS, Outlook, Student, Wanted, export
from fewstep.interop import Encoded, Pipe
from fewstep.jobs import fit
from fewstep.jobs.foretell import foretold
from fewstep.jobs.models import pipe_of
from fewstep.jobs.suited import computed, fitting
from fewstep.networks import LORA, LoraFile
from fewstep.recipes import is_given_teacher, load_recipe, paper_names, read

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Euler, in diffusers
BRIEF = ("batch=4", "looks=1", "judged=16")
STAGES = {"ct": 24, "mlcm": 8, "progressive": 8}  # updates that a curriculum takes; two are enough for all others
FAST = ("instaflow",)  # of the longest: a stage before, pairs of it, and the folder as the one form

LINEAR = r"cannot begin with the teacher's weights on the path (Linear|TrigFlow)"
REFUSED = {
    "adc-gan": "heads of the kind classes need data with class labels",
    "animatelcm": "has no setting 'motion'",
    "animatelcm-spatial": "has no setting 'motion'",
    "msd": "the data have no classes",
    "msd-tsm": "the data have no classes",
    "periodwave-turbo": r"cannot be computed on items of \[4, 8, 8\]",
    "pixart-sigma": r"has no self-attention of patches alone",
    "sfd": "names the class 0, but these data have no classes",
    **dict.fromkeys(("ayf", "meanflow", "scd", "sct", "shortcut"), LINEAR),
}
"""What is said before the first update."""

WHOLE = "sampled by ManyStep, so it is a teacher"
SECOND = r"told the time that it jumps to .* such as lcm-lora"
OTHER = "its network is a UNet, .* whose student comes 'from: teacher'"
KEPT = {
    **dict.fromkeys(("boot", "ctm", "soundctm", "tcd"), SECOND),
    **dict.fromkeys(("guidance-distill", "diversity-rewarded"), WHOLE),
    **dict.fromkeys(("slimflow", "slimflow-reflow"), OTHER),
    "comospeech": "predicts EDM, which stock schedulers of this path do not know",
    "speedupnet": "the pipeline's own inside a Adapted, .* no form of an export",
}
"""What is said of students that are for their run folder alone."""


@pytest.fixture(scope="module")
def data(pipe: Callable[[str], Pipe], tmp_path_factory: pytest.TempPathFactory) -> Encoded:
    return Encoded(Shapes(16, count=8), replace(pipe("sd"), size=(16, 16)), tmp_path_factory.mktemp("cache"))


def brief(name: str) -> Iterator[str]:
    """Settings that make a run short, of a recipe and of those that it begins with."""
    stage, values = "", read(name).values
    while True:
        steps = STAGES.get(name, 2) if not stage else 2
        yield from (f"{stage}{setting}" for setting in (f"steps={steps}", *BRIEF))
        if "pairs" in values:
            yield f"{stage}pairs.count=8"
        if "begins" not in values:
            return
        stage, values = f"{stage}begins.", read(values["begins"]).values


def distilled(name: str, data: Encoded, run: Path, cache: Path, more: Sequence[str] = ()) -> fs.Model:
    """A student of two updates, as the command line would make it."""
    teacher = data.pipe.model(2)
    settings = [*brief(name), *more]
    settings += computed(name, settings, teacher)
    recipe = load_recipe(name, settings)
    return fit(
        recipe, name, data, fs.Options(run, settings=settings, show=False, cache=cache), fitting(teacher, recipe)
    )


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in FAST else pytest.mark.slow) for n in paper_names()])
def test_recipe_works_on_a_pipeline_or_says_why_not(name: str, data: Encoded, tmp_path: Path, cache: Path) -> None:
    if not is_given_teacher(load_recipe(name)):
        pytest.skip("learns from data alone")
    if name in REFUSED:
        with pytest.raises(fs.RecipeError, match=REFUSED[name]):
            distilled(name, data, tmp_path / "run", cache)
        assert not [*(tmp_path / "run").rglob("*.safetensors")]
        return
    said = announced(name, data)
    made = distilled(name, data, tmp_path / "run", cache)
    again = fs.load_model(tmp_path / "run")
    c = data.conditions([0])
    assert again.sample([1], c).equal(made.sample([1], c))
    file = LoraFile.read(tmp_path / "run" / LORA) if (tmp_path / "run" / LORA).is_file() else None
    agrees(said, again, file, tmp_path / "out")
    if name in KEPT:
        assert (said.possible, re.search(KEPT[name], said.words) is not None) == ([], True)
        return
    assert said.possible == (["lora", "folder", "kohya"] if file else ["folder"])
    assert checked(tmp_path / "out" / said.possible[0]).worst < 1e-3


@pytest.mark.slow
def test_adapter_on_what_another_recipe_made_is_refused_at_once(data: Encoded, tmp_path: Path, cache: Path) -> None:
    """Its base is no pipeline that there is a folder of."""
    more = ["learners.student.lora.rank=2"]
    said = announced("nitrofusion", data, more)
    distilled("nitrofusion", data, tmp_path / "run", cache, more)
    assert "an adapter on a base with the weights of the student of dmd2-no-gan" in said.words
    assert said.possible == []
    with pytest.raises(fs.WeightsError, match="is an adapter on a base with the weights"):
        exported(fs.load_model(tmp_path / "run"), LoraFile.read(tmp_path / "run" / LORA), wanted(), tmp_path / "out")


def announced(name: str, data: Encoded, more: Sequence[str] = ()) -> Outlook:
    """What is said before the training."""
    teacher = data.pipe.model(2)
    settings = [*brief(name), *more]
    settings += computed(name, settings, teacher)
    recipe = load_recipe(name, settings)
    return foretold(recipe, settings, fitting(teacher, recipe), None, data.pipe)


def agrees(said: Outlook, model: fs.Model, file: LoraFile | None, out: Path) -> None:
    """Export in every form, in the numbers of steps that were announced and in all; what is said then was announced."""
    for form in FORMS:
        some = wanted(form, steps=said.steps)
        if form in said.possible:
            exported(model, file, some, out / form)
        else:
            assert refusal(model, file, some, out / form) == said.forms[form]
    if said.others:
        assert refusal(model, file, wanted("folder"), out / "all") == said.others
    else:
        assert set(said.steps) == set(model.sampler.made_for)


def refusal(model: fs.Model, file: LoraFile | None, some: Wanted, out: Path) -> str:
    with pytest.raises(fs.WeightsError) as error:
        exported(model, file, some, out)
    return str(error.value)


def exported(model: fs.Model, file: LoraFile | None, some: Wanted, out: Path) -> None:
    """Export a student of a run."""
    export(Student.of(model, pipe_of(model), file), out, some, None)
