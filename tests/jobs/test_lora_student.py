"""A student that is an adapter: trained on a shared base, saved whole and apart, begun with again."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import fewstep as fs
from fewstep.networks import LORA, LoraFile, UNet
from fewstep.training import checkpoints, load_weights

pytestmark = pytest.mark.usefixtures("brief_looks")

STUDENT = (
    "steps=8",
    "batch=16",
    "looks=2",
    "judged=16",
    "pairs.count=32",
    "pairs.steps=2",
    "learners.student.lora.rank=4",
)


BRIEF = ("steps=2", "looks=1")  # for what does not depend on how much was learned
Distilled = Callable[..., fs.Model]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("lora")


@pytest.fixture(scope="module")
def distilled(folder: Path, cache: Path) -> Distilled:
    """Distil a teacher from pairs that all runs share: ``distilled(teacher, out, "steps=4")``."""

    def run(teacher: fs.Model, out: Path, *more: str) -> fs.Model:
        settings = (*STUDENT, *more)
        options = fs.Options(out, settings=settings, show=False, cache=cache, pairs=folder / "pairs")
        return fs.distill(teacher, fs.Digits(), options, "dmd2-lora")

    return run


@pytest.fixture(scope="module")
def student(distilled: Distilled, folder: Path, teacher: fs.Model) -> fs.Model:
    return distilled(teacher, folder / "s")


def stranger(teacher: fs.Model) -> fs.Model:
    torch.manual_seed(9)
    return replace(teacher, view=replace(teacher.view, net=UNet(1, 10, widths=(8, 8)).eval()))


def test_the_student_is_saved_whole_and_loads_like_any_model(folder: Path, teacher: fs.Model, student: fs.Model):
    again = fs.load_model(folder / "s")
    assert again.view.net.state_dict().keys() == teacher.view.net.state_dict().keys()
    assert torch.equal(again.sample(range(3), "3"), student.sample(range(3), "3"))
    moved = [not torch.equal(v, teacher.view.net.state_dict()[k]) for k, v in again.view.net.state_dict().items()]
    assert any(moved)
    assert not {p.data_ptr() for p in student.view.net.parameters()} & {
        p.data_ptr() for p in teacher.view.net.parameters()
    }


def test_the_adapter_beside_it_makes_the_same_student_of_its_base(folder: Path, teacher: fs.Model, student: fs.Model):
    made = fs.load_lora(folder / "s", teacher)
    for name, value in student.view.net.state_dict().items():
        assert torch.allclose(made.view.net.state_dict()[name], value, atol=1e-6)
    assert torch.allclose(made.sample(range(3), "3"), student.sample(range(3), "3"), atol=1e-4)
    small, whole = ((folder / "s" / name).stat().st_size for name in (LORA, "model.safetensors"))
    assert small < whole


def test_an_adapter_on_another_base_is_refused(
    teacher_folder, distilled, folder: Path, teacher: fs.Model, student: fs.Model, tmp_path: Path
):
    with pytest.raises(
        fs.WeightsError, match=r"is an adapter on a base with the weights \w+; the model that was given"
    ):
        fs.load_lora(folder / "s", stranger(teacher))
    with pytest.raises(fs.WeightsError, match="the teacher of its run"):
        distilled(stranger(teacher), tmp_path, f"learners.student.lora.file={folder / 's' / LORA}")
    with pytest.raises(fs.WeightsError, match="There is no file"):
        fs.load_lora(teacher_folder, teacher)


def test_a_run_can_begin_with_an_adapter_of_the_same_form_only(
    distilled, folder: Path, teacher, student, tmp_path: Path
):
    begin = f"learners.student.lora.file={folder / 's' / LORA}"
    rates = (*BRIEF, "learners.student.optimiser.adam.lr=0", "keep=''")  # nothing learns
    again = distilled(teacher, tmp_path / "a", begin, *rates)
    for name, value in student.view.net.state_dict().items():
        assert torch.allclose(again.view.net.state_dict()[name], value, atol=1e-6)
    with pytest.raises(fs.WeightsError, match=r"of rank 4 and alpha 4 .*asked for were rank 2.*tensors that differ"):
        distilled(teacher, tmp_path / "b", begin, "learners.student.lora.rank=2")


def test_a_run_on_fewer_bits_writes_what_it_computed_with(distilled, folder: Path, teacher: fs.Model, tmp_path: Path):
    student = distilled(teacher, tmp_path, *BRIEF, "base=int8", "learners.student.second_time=true")
    again, made = fs.load_model(tmp_path), fs.load_lora(tmp_path, teacher)
    for name, value in student.view.net.state_dict().items():
        assert torch.equal(again.view.net.state_dict()[name], value)
        assert torch.allclose(made.view.net.state_dict()[name], value, atol=1e-6)
    assert again.network["unet"]["second_time"]
    assert LoraFile.read(tmp_path / LORA).bits == "int8"
    assert not torch.equal(again.view.net.first.weight, teacher.view.net.first.weight)


def test_what_is_kept_while_training_is_the_adapter_only(folder: Path, student: fs.Model):
    tensors = LoraFile.read(folder / "s" / LORA).tensors
    whole = {path.name: path.stat().st_size for path in (folder / "s").glob("*.safetensors")}
    assert all(".lora_" in name for name in tensors)
    assert whole["best.safetensors"] < whole["model.safetensors"]
    for path in checkpoints(folder / "s" / "checkpoints")[-1].glob("*.safetensors"):
        assert "optimiser" in path.name or all(".lora_" in name for name in load_file(path))
    with pytest.raises(fs.WeightsError, match="holds the weights of another network"):
        load_weights(student.view.net, folder / "s" / "best.safetensors")


@pytest.mark.slow  # tests/recipes/test_share.py resumes learners with adapters
def test_an_interrupted_run_ends_as_one_that_was_not(
    distilled, folder: Path, teacher: fs.Model, student: fs.Model, tmp_path: Path
):
    shutil.copytree(folder / "s", tmp_path / "s")
    for name in ("run.json", "model.safetensors", LORA):
        (tmp_path / "s" / name).unlink()
    shutil.rmtree(checkpoints(tmp_path / "s" / "checkpoints")[-1])
    assert [path.name for path in checkpoints(tmp_path / "s" / "checkpoints")] == ["step-00000004"]
    again = distilled(teacher, tmp_path / "s")
    for name, value in student.view.net.state_dict().items():
        assert torch.equal(again.view.net.state_dict()[name], value)


def test_a_network_of_ones_own_is_a_base_too(distilled, folder: Path, teacher: fs.Model, tmp_path: Path):
    own = replace(teacher, network={})
    first = distilled(own, tmp_path, *BRIEF, "learners.student.second_time=true")
    again = distilled(own, tmp_path, *BRIEF, "learners.student.second_time=true")
    made = fs.load_lora(tmp_path, own)
    assert json.loads((tmp_path / "run.json").read_text())["network"]["secondtime"]["body"] == {}
    assert LoraFile.read(tmp_path / LORA).inside == "body."
    assert torch.equal(again.sample([1], "3"), first.sample([1], "3"))
    assert torch.allclose(made.sample([1], "3"), first.sample([1], "3"), atol=1e-4)
