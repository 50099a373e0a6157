"""The recipes of notes from data to students, at toy size."""

from collections.abc import Callable
from pathlib import Path

import pytest

import fewstep as fs
from fewstep.data import Data, Notes, NotesWave
from fewstep.data.score import KINDS
from fewstep.model import Model
from fewstep.networks import MultiPeriod
from fewstep.recipes import assemble, load_recipe

pytestmark = pytest.mark.usefixtures("brief_looks")

QUICK = ("steps=2", "batch=4", "looks=1", "judged=16")
TEACHER = (*QUICK, "sampler.many_step.steps=2", "learners.student.network.unet1d.widths=[8, 8]")
COUNT = 6 * KINDS  # as the tests of the judge take, so that one network of features serves all
CORPORA: dict[str, Callable[[int, int], Data]] = {"edm-notes": Notes, "edm-wave": NotesWave}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Callable[[str, str | None], Model]:
    """Run a recipe once, on its teacher's result if it has one."""
    out, known = tmp_path_factory.mktemp("runs"), dict[str, Model]()

    def make(name: str, teacher: str | None = None) -> Model:
        data = CORPORA[teacher or name](0, COUNT)
        options = fs.Options(out / name, settings=QUICK if teacher else TEACHER, show=False, cache=cache)
        if name not in known and teacher is None:
            known[name] = fs.train_teacher(data, options, name)
        elif name not in known:
            known[name] = fs.distill(make(teacher), data, options, name)
        return known[name]

    return make


def data_of(model: Model) -> Data:
    return CORPORA["edm-notes" if model.condition == (30,) else "edm-wave"](0, COUNT)


@pytest.mark.parametrize(("name", "condition"), [("edm-notes", (30,)), ("edm-wave", (80, 32))])
def test_a_teacher_takes_the_condition_of_its_data(made, name: str, condition: tuple[int, ...]):
    model = made(name)
    assert model.condition == condition
    assert model.network["unet1d"]["condition"] == list(condition)


@pytest.mark.parametrize(
    ("name", "teacher"),
    [
        pytest.param("comospeech", "edm-notes", marks=pytest.mark.slow),
        ("soundctm", "edm-notes"),
        ("periodwave-turbo", "edm-wave"),
    ],
)
def test_a_student_runs_from_end_to_end(made, name: str, teacher: str):
    model = made(name, teacher)
    data = data_of(model)
    sounds = model.sample(range(3), data.batch(range(3)).c)
    assert sounds.shape == (3, *data.shape)
    assert sounds.isfinite().all()
    assert model.calls() == model.sampler.made_for[0]
    assert model.facts["recipe"] == name


def test_the_student_of_soundctm_is_mixed_when_it_samples(made):
    model = made("soundctm", "edm-notes")
    assert model.sampler.scale == 1
    assert model.network["unet1d"]["scale"]
    assert [rule.scale for rule in model.sampler.guidance] == [1]
    assert model.calls(4) == 4


def test_the_critic_of_a_vocoder_has_a_network_of_its_own(made):
    teacher, data = made("edm-wave"), NotesWave(0, COUNT)
    training = assemble(load_recipe("periodwave-turbo"), data.batch(range(4)), 0, teacher, 0).training
    critic = training.learners["critic"]
    assert isinstance(critic.bare, MultiPeriod)
    assert critic.view.process.sigma_data == teacher.view.process.sigma_data
    assert critic.every == 1
