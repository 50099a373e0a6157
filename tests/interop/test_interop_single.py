"""A checkpoint in one file is the pipeline that its keys say, whole, or is refused in words."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from safetensors.torch import save_file
from single import written
from tiny import built

from fewstep import WeightsError
from fewstep.interop import as_folder, open_pipe
from fewstep.interop.single import read_file
from fewstep.jobs.pipelines import Asked, in_folder, opened

XL = {"conditioner__embedders__1__model__transformer__resblocks__9__mlp__c_proj__bias": torch.zeros(4)}
CLIP = "cond_stage_model__transformer__text_model__"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(built("sd"), tmp_path_factory.mktemp("single") / "sd.safetensors")


def test_file_is_the_pipeline_that_was_published(file: Path, folder: Path) -> None:
    pipe, saved = open_pipe(file, config=folder), built("sd")
    assert (type(pipe.pipeline), pipe.size) == (StableDiffusionPipeline, (16, 16))
    for name in ("unet", "vae", "text_encoder"):
        ours, theirs = pipe.pipeline.components[name].state_dict(), saved.components[name].state_dict()
        assert all(ours[key].equal(weight) for key, weight in theirs.items())


def test_keys_of_xl_are_never_read_as_another_pipeline(folder: Path, tmp_path: Path) -> None:
    other = written(built("sd"), tmp_path / "xl.safetensors", **XL)
    with pytest.raises(WeightsError, match=r"of a StableDiffusionXLPipeline, but .* of a StableDiffusionPipeline"):
        open_pipe(other, config=folder)


def test_stable_diffusion_is_never_read_as_xl(file: Path, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionXLPipeline"}))
    with pytest.raises(WeightsError, match=r"of a StableDiffusionPipeline, but .* of a StableDiffusionXLPipeline"):
        open_pipe(file, config=tmp_path)


def test_reason_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("the line is dead")

    monkeypatch.setattr(StableDiffusionPipeline, "from_single_file", refuse)
    with pytest.raises(WeightsError, match=r"StableDiffusionPipeline .*the line is dead.*--config FOLDER"):
        open_pipe(file)


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (
            "lacks weights of its U-Net",
            "model__diffusion_model__input_blocks__1__1__transformer_blocks__0__attn2__to_q__weight",
        ),
        (r"holds no text_encoder\..*q_proj.weight", f"{CLIP}encoder__layers__0__self_attn__q_proj__weight"),
        ("lacks weights of its .*autoencoder", "first_stage_model__decoder__conv_in__weight"),
    ],
)
def test_missing_weights_are_refused(folder: Path, tmp_path: Path, words: str, key: str) -> None:
    with pytest.raises(WeightsError, match=words):
        open_pipe(written(built("sd"), tmp_path / "x.safetensors", **{key: None}), config=folder)


def test_file_without_text_encoder_is_refused(file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What XL's optional parts do: diffusers makes a pipeline without them."""
    whole = read_file(file, folder)
    whole.text_encoder = None
    monkeypatch.setattr(StableDiffusionPipeline, "from_single_file", lambda *_, **__: whole)
    with pytest.raises(WeightsError, match="holds no text_encoder"):
        open_pipe(file, config=folder)


def test_adapter_and_broken_files_are_no_checkpoints(tmp_path: Path) -> None:
    save_file({"unet.conv_in.lora_A.weight": torch.zeros(2, 4, 3, 3)}, tmp_path / "lora.safetensors")
    with pytest.raises(WeightsError, match=r"no pipeline that fewstep knows.*unet.conv_in.lora_A.weight"):
        open_pipe(tmp_path / "lora.safetensors")
    (tmp_path / "model.safetensors").write_bytes(b"half")
    with pytest.raises(WeightsError, match=r"cannot be read as a checkpoint in one file"):
        open_pipe(tmp_path / "model.safetensors")


def test_configuration_that_is_none_is_refused(file: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is no folder of configurations"):
        open_pipe(file, config=tmp_path)
    with pytest.raises(WeightsError, match="brings its own"):
        open_pipe(folder, config=folder)


def test_file_becomes_a_folder_once(file: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = as_folder(file, tmp_path / "teacher", folder)
    stock = DiffusionPipeline.from_pretrained(made, use_safetensors=True)
    assert stock.unet.conv_in.weight.equal(built("sd").unet.conv_in.weight)
    monkeypatch.setattr(StableDiffusionPipeline, "from_single_file", None)  # not read again
    assert as_folder(file, made) == made
    assert open_pipe(made).size == (16, 16)
    file.touch()
    with pytest.raises(WeightsError, match=r"was made of .*sd.safetensors as it was then"):
        as_folder(file, made)


def test_student_of_a_file_is_based_on_its_folder(file: Path, folder: Path, tmp_path: Path) -> None:
    _, teacher = opened(in_folder(Asked(str(file), config=folder), tmp_path / "teacher"))
    assert teacher.facts["pipeline"] == str(tmp_path / "teacher")
    asked = Asked(str(folder))
    assert in_folder(asked, tmp_path / "other") is asked
