"""What is opened is what was saved; what cannot be opened is refused in words."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from tiny import built, random_lora

from fewstep import DataError, WeightsError
from fewstep.interop import is_pipeline, open_pipe


def test_folder_is_the_pipeline_that_was_saved(folder: Path) -> None:
    pipe, saved = open_pipe(folder), built("sd")
    assert (pipe.size, pipe.shape, pipe.family.name) == ((16, 16), (4, 8, 8), "sd")
    assert all(a.equal(b) for a, b in zip(pipe.backbone.parameters(), saved.unet.parameters(), strict=True))
    assert not any(weight.requires_grad for weight in pipe.coder.parameters())


@pytest.mark.parametrize(("place", "found"), [("owner/name", True), ("nowhere", False), ("/no/where", False)])
def test_hub_ids_are_told_from_paths(place: str, found: bool) -> None:
    assert is_pipeline(place) is found


def test_hub_id_without_network_says_what_to_do() -> None:
    with pytest.raises(WeightsError, match=r"owner/name cannot be opened.*give its folder"):
        open_pipe("owner/name")


def test_single_file_is_read_as_what_its_keys_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configurations of real ones come from the hub; that the classes are tried in turn needs none."""
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(WeightsError, match="cannot be read as a single-file checkpoint"):
        open_pipe(tmp_path / "model.safetensors")
    monkeypatch.setattr(StableDiffusionPipeline, "from_single_file", lambda _: built("sd"))
    assert open_pipe(tmp_path / "model.safetensors").family.name == "sd"


def test_missing_folder_is_refused() -> None:
    with pytest.raises(WeightsError, match="nowhere is no diffusers folder"):
        open_pipe("nowhere")


def test_unknown_family_is_named_with_the_known_ones(folder: Path, tmp_path: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps(index | {"_class_name": "StableDifusionPipeline"}))
    with pytest.raises(WeightsError, match=r"StableDifusionPipeline, which fewstep does not know.*FluxPipeline"):
        open_pipe(tmp_path)


def test_missing_component_is_named(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "sd")
    shutil.rmtree(tmp_path / "sd" / "vae")
    with pytest.raises(WeightsError, match="lacks vae, which its model_index"):
        open_pipe(tmp_path / "sd")


def test_pickles_are_not_read(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "sd")
    weights = tmp_path / "sd" / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save({}, weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(WeightsError, match="cannot be opened as a pipeline"):
        open_pipe(tmp_path / "sd")


def test_size_that_is_not_whole_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"17 x 16 pixels were asked for.*units of 2.*Give 16 x 16"):
        open_pipe(folder, (17, 16))


def test_too_long_prompts_are_counted(folder: Path) -> None:
    said = "1 of 2 prompts is longer than the 12 tokens that CLIP reads"
    assert open_pipe(folder).unread(["a", "a very long prompt"]) == said


def test_style_is_merged(folder: Path, tmp_path: Path) -> None:
    plain, styled = open_pipe(folder), open_pipe(folder, lora=random_lora(folder, tmp_path))
    before, after = dict(plain.backbone.named_parameters()), dict(styled.backbone.named_parameters())
    changed = {name for name, weight in before.items() if not weight.equal(after[name])}
    assert changed == {name for name in before if name.endswith("to_q.weight")}
    assert styled.model().facts["style"] == str(tmp_path)


@pytest.mark.parametrize("prefix", ["transformer.", "", "unet.nothing."])
def test_style_of_another_base_is_refused(folder: Path, tmp_path: Path, prefix: str) -> None:
    style = random_lora(folder, tmp_path, prefix)
    with pytest.raises(WeightsError, match="pytorch_lora_weights"):
        open_pipe(folder, lora=style)


def test_missing_style_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="There is no LoRA file"):
        open_pipe(folder, lora=tmp_path)
