"""The guidance scale that a model is sampled at: its own, that of its folder, or the one that is asked for."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import built
from typer.testing import CliRunner

import fewstep as fs
from fewstep.cli import app
from fewstep.guidance import EditCFG
from fewstep.interop import open_pipe
from fewstep.jobs.models import model_at, models_at
from fewstep.jobs.pipelines import Asked, opened
from fewstep.jobs.suited import computed
from fewstep.sampling import FewStep
from fewstep.store import save_model
from fewstep.times import Trailing


@pytest.fixture
def stated(folder: Path, tmp_path: Path) -> Callable[[object], Path]:
    """A copy of the pipeline whose folder says this of itself."""

    def get(facts: object) -> Path:
        place = shutil.copytree(folder, tmp_path / "stated", dirs_exist_ok=True)
        (place / "pocket.json").write_text(facts if isinstance(facts, str) else json.dumps(facts))
        return place

    return get


@pytest.fixture
def student(folder: Path) -> fs.Model:
    """A student in one call, without guidance."""
    return replace(open_pipe(folder).model(1, 1.0), sampler=FewStep(Trailing(1.0), (1,)))


def test_scale_that_the_folder_states_is_the_default(folder: Path, stated: Callable[[object], Path]) -> None:
    assert open_pipe(folder).model().sampler.guidance == (fs.CFG(7.5),)
    place = stated({"guidance": 3.0})
    assert open_pipe(place).model().sampler.guidance == model_at(place).sampler.guidance == (fs.CFG(3.0),)
    assert open_pipe(place).model(None, 5.0).sampler.guidance == (fs.CFG(5.0),)
    assert computed("lcm-lora", [], opened(Asked(str(place)))[1]) == ["frozen.teacher.guidance=[{cfg: 3.0}]"]
    assert open_pipe(stated({"seed": 0})).model().sampler.guidance == (fs.CFG(7.5),)


@pytest.mark.parametrize("broken", ["{", "[3]", '{"guidance": "high"}'])
def test_facts_that_cannot_be_read_are_named(stated: Callable[[object], Path], broken: str) -> None:
    with pytest.raises(fs.WeightsError, match=r"pocket\.json cannot be read"):
        open_pipe(stated(broken)).model()


def test_pipeline_is_sampled_at_the_scale_that_is_asked_for(folder: Path) -> None:
    pipe = open_pipe(folder)
    c, asked = pipe.prompts(["a red disc"]), model_at(folder, 2.0)
    assert asked.sample([1], c, 2).equal(pipe.model(2, 2.0).sample([1], c))
    assert pipe.model().guided(2.0).sample([1], c, 2).equal(asked.sample([1], c, 2))
    assert not torch.allclose(asked.sample([1], c, 2), model_at(folder).sample([1], c, 2), atol=1e-3)


def test_student_is_told_the_scale_that_is_asked_for(student: fs.Model, tmp_path: Path) -> None:
    scaled = replace(student, sampler=replace(student.sampler, scale=4.0))
    save_model(scaled, tmp_path)
    assert model_at(tmp_path).sampler == scaled.sampler
    assert model_at(tmp_path, 6.0).sampler == replace(scaled.sampler, scale=6.0)


def test_scale_of_an_edit_is_that_of_the_prompt(student: fs.Model) -> None:
    assert student.under(EditCFG(7.5, 1.2)).guided(3.0).sampler.guidance == (EditCFG(3.0, 1.2),)


def test_model_that_takes_no_scale_refuses_one(student: fs.Model, tmp_path: Path) -> None:
    with pytest.raises(
        fs.RecipeError, match=r"scale of 3 was asked for, but .* told no scale.*--guidance.*such as lcm"
    ):
        student.guided(3.0)
    for name in ("schnell", "unconditional"):
        built(name).save_pretrained(tmp_path / name)
        with pytest.raises(fs.RecipeError, match=r"scale of 3 was asked for, but .*Pipeline, takes none"):
            model_at(tmp_path / name, 3.0)


def test_of_several_those_that_take_a_scale_are_named_by_it(folder: Path, student: fs.Model, tmp_path: Path) -> None:
    save_model(student, tmp_path)
    models = models_at({"teacher": folder, "student": tmp_path}, 3.0)
    assert {name: model.sampler.guidance for name, model in models.items()} == {
        "teacher, guidance 3": (fs.CFG(3.0),),
        "student": (),
    }
    with pytest.raises(fs.RecipeError, match="told no scale"):
        models_at({"student": tmp_path}, 3.0)


def test_command_line_draws_at_a_scale(folder: Path, tmp_path: Path) -> None:
    words, pictures = ["sample", str(folder), "--label", "a red disc", "--steps", "1"], []
    for scale in ("1", "6"):
        answer = CliRunner().invoke(app, [*words, "--guidance", scale, "--out", str(tmp_path / "a.png")])
        assert answer.exit_code == 0, answer.output
        pictures.append((tmp_path / "a.png").read_bytes())
    assert pictures[0] != pictures[1]
