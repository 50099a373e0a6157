"""What is opened is what was saved; what cannot be opened is refused in words."""

import json
import logging
import re
import shutil
from inspect import signature
from pathlib import Path
from typing import Any

import diffusers
import huggingface_hub
import pytest
import torch
from diffusers.utils import logging as diffusers_logging
from huggingface_hub.utils.tqdm import are_progress_bars_disabled
from safetensors.torch import load_file, save_file
from tiny import built, unet
from transformers.utils import logging as transformers_logging

from fewstep import DataError, WeightsError
from fewstep.interop import Pipe, is_pipeline, open_pipe
from fewstep.interop.listening import READERS
from fewstep.interop.open import _own_size
from fewstep.interop.reading import UnreadWeights, family_of


def test_folder_is_the_pipeline_that_was_saved(folder: Path) -> None:
    pipe, saved = open_pipe(folder), built("sd")
    assert (pipe.size, pipe.shape, pipe.family.name) == ((16, 16), (4, 8, 8), "sd")
    assert all(a.equal(b) for a, b in zip(pipe.backbone.parameters(), saved.unet.parameters(), strict=True))
    assert not any(weight.requires_grad for weight in pipe.coder.parameters())


@pytest.mark.parametrize(("place", "found"), [("owner/name", True), ("nowhere", False), ("/no/where", False)])
def test_hub_ids_are_told_from_paths(place: str, found: bool) -> None:
    assert is_pipeline(place) is found


def test_hub_id_without_network_says_what_to_do() -> None:
    with pytest.raises(WeightsError, match=r"owner/name cannot be opened.*no such folder here.*give its folder"):
        open_pipe("owner/name")


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


@pytest.mark.parametrize(("family", "side", "words"), [("sd3", 36, "positions for 32"), ("unconditional", 15, "of 2")])
def test_size_that_the_backbone_cannot_take_is_refused(tmp_path: Path, family: str, side: int, words: str) -> None:
    """Their networks would raise in the middle of a run: of a table that is too small, of levels that do not fit."""
    built(family).save_pretrained(tmp_path)
    with pytest.raises(DataError, match=f"{side} x {side} pixels were asked for.*{words}"):
        open_pipe(tmp_path, (side, side))
    model = open_pipe(tmp_path, (32, 32)).model(1, 1.0)
    assert model.sample([0], torch.zeros(1, *model.condition) if model.condition else None).isfinite().all()


def test_too_long_prompts_are_counted(folder: Path) -> None:
    said = "1 of 2 prompts is longer than the 12 tokens that CLIP reads"
    assert open_pipe(folder).unread(["a", "a very long prompt"]) == said


def without(folder: Path, part: str, word: str) -> str:
    """Take one weight out of a component's file; return its name."""
    file = next((folder / part).glob("*.safetensors"))
    tensors = load_file(file)
    key = next(name for name in tensors if word in name)
    save_file({name: weight for name, weight in tensors.items() if name != key}, file, {"format": "pt"})
    return key


@pytest.mark.parametrize(
    ("family", "part", "word"),
    [
        ("sd", "unet", "attn2.to_q"),
        ("sd", "text_encoder", "q_proj.weight"),
        ("sd", "vae", "decoder.conv_in"),
        ("sd3", "transformer", "attn.to_q"),
        ("sd3", "text_encoder_3", "SelfAttention.q"),
        ("sana", "vae", "decoder.conv_in"),
    ],
)
def test_missing_weights_are_named(tmp_path: Path, family: str, part: str, word: str) -> None:
    """diffusers and transformers fill the gap with random numbers."""
    built(family).save_pretrained(tmp_path)
    key = without(tmp_path, part, word)
    with pytest.raises(WeightsError, match=rf"is not whole: {part} lacks {re.escape(key)}\. Random numbers"):
        open_pipe(tmp_path)


def test_several_missing_weights_are_counted(tmp_path: Path) -> None:
    built("sd").save_pretrained(tmp_path)
    for part, word in (
        ("unet", "to_q"),
        ("unet", "to_k"),
        ("unet", "to_v"),
        ("unet", "to_out"),
        ("text_encoder", "fc1"),
    ):
        without(tmp_path, part, word)
    with pytest.raises(WeightsError, match=r"text_encoder lacks .*fc1.*unet lacks .* and 1 more|and 1 more; text_enc"):
        open_pipe(tmp_path)


def test_tokenizer_without_its_vocabulary_is_refused(tmp_path: Path) -> None:
    """transformers makes one that takes every word for the same unknown one."""
    for family, name in (("sd", "tokenizer"), ("sd3", "tokenizer_3"), ("sana", "tokenizer")):
        built(family).save_pretrained(tmp_path / family)
        (tmp_path / family / name / "tokenizer.json").unlink()
        with pytest.raises(WeightsError, match=rf"The {name} of .* knows no words.*tokenizer\.json into {name}"):
            open_pipe(tmp_path / family)


def test_weights_without_a_place_are_counted(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "sd")
    for part in ("unet", "text_encoder"):
        file = next((tmp_path / "sd" / part).glob("*.safetensors"))
        more = {"spare.weight": torch.zeros(2), "spare.bias": torch.zeros(2)}
        save_file(load_file(file) | more, file, {"format": "pt"})
    said = r"Weights of .*: 2 of (unet|text_encoder), such as spare\.\w+; 2 of (unet|text_encoder), such as spare"
    with pytest.warns(UnreadWeights, match=said):
        open_pipe(tmp_path / "sd")


def test_nothing_is_said_and_the_libraries_speak_afterwards(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = [(logger.level, logger.handlers, logger.propagate) for logger in map(logging.getLogger, READERS)]
    open_pipe(folder)
    assert capsys.readouterr() == ("", "")
    assert [(logger.level, logger.handlers, logger.propagate) for logger in map(logging.getLogger, READERS)] == before


@pytest.mark.parametrize("shown", [True, False])
def test_progress_bars_are_left_as_they_were(folder: Path, shown: bool) -> None:
    switches = (diffusers_logging, transformers_logging)
    for each in switches:
        each.enable_progress_bar() if shown else each.disable_progress_bar()
    try:
        open_pipe(folder)
        assert [each.is_progress_bar_enabled() for each in switches] == [shown, shown]
        assert are_progress_bars_disabled() is not shown
    finally:
        for each in switches:
            each.enable_progress_bar()


def test_component_without_which_no_prompt_is_read_is_missed(tmp_path: Path) -> None:
    """Optional parts of XL for diffusers; its refiner has neither."""
    pipe = built("sdxl")
    pipe.text_encoder = pipe.tokenizer = None
    pipe.register_modules(text_encoder=None, tokenizer=None)
    pipe.save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"XLPipeline without text_encoder, tokenizer, so that it cannot read"):
        open_pipe(tmp_path)


def test_few_step_students_are_no_teachers(folder: Path, tmp_path: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps(index | {"_class_name": "LatentConsistencyModelPipeline"}))
    with pytest.raises(WeightsError, match=r"LatentConsistencyModelPipeline: a few-step student already.*--like lcm"):
        open_pipe(tmp_path)
    told = built("sd")
    told.register_modules(unet=unet(time_cond_proj_dim=256))
    told.save_pretrained(tmp_path / "told")
    with pytest.raises(WeightsError, match=r"is told its guidance scale \(time_cond_proj_dim\)"):
        open_pipe(tmp_path / "told")


def test_family_on_the_hub_is_checked_before_anything_else_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def fetch(place: str, name: str, revision: str | None) -> str:
        asked.append((place, name))
        (tmp_path / name).write_text(json.dumps({"_class_name": "KandinskyPipeline"}))
        return str(tmp_path / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", None)
    with pytest.raises(WeightsError, match=r"owner/name is a KandinskyPipeline, which fewstep does not know"):
        open_pipe("owner/name")
    assert asked == [("owner/name", "model_index.json")]


def test_code_that_comes_with_a_pipeline_is_not_run(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "sd")
    index = json.loads((folder / "model_index.json").read_text())
    trap = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\nfrom diffusers import {}\n"
    (tmp_path / "sd" / "pipeline.py").write_text(trap.format("StableDiffusionPipeline as Mine"))
    (tmp_path / "sd" / "unet" / "mine.py").write_text(trap.format("UNet2DConditionModel as Mine"))
    for part, words in (("_class_name", r"itself \(pipeline.py, Mine\)"), ("unet", r"for its unet \(mine.py, Mine\)")):
        changed = index | {part: ["mine" if part == "unet" else "pipeline", "Mine"]}
        (tmp_path / "sd" / "model_index.json").write_text(json.dumps(changed))
        with pytest.raises(WeightsError, match=f"brings code of its own {words}, which is not run"):
            open_pipe(tmp_path / "sd")
    assert not list(tmp_path.rglob("ran"))


class Drawn(Exception):
    """What a stock pipeline would have drawn: height and width, in pixels."""


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3", "flux", "pixart", "control", "inpaint", "edit-xl"])
def test_size_of_its_own_is_the_stock_pipelines(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flux' transformer states none: its pipeline's default is 128 latents."""
    pipe = built(name)
    original = signature(type(pipe).prepare_latents)

    def refuse(*given: object, **more: object) -> None:
        told = original.bind(*given, **more).arguments
        raise Drawn(told["height"], told["width"])

    monkeypatch.setattr(type(pipe), "prepare_latents", refuse)
    extra = family_of(type(pipe).__name__, name).EXTRAS.get(type(pipe).__name__)
    images = {} if extra is None else dict.fromkeys(extra.IMAGES.values(), torch.rand(1, 3, *own_size(pipe)))
    images |= {"mask_image": torch.ones(1, 1, *own_size(pipe))} if "mask_image" in images else {}
    with pytest.raises(Drawn) as seen:
        pipe("a", num_inference_steps=1, **images, **family_of(type(pipe).__name__, name).call(pipe))
    assert seen.value.args == own_size(pipe)


@pytest.mark.parametrize("name", ["dit", "unconditional"])
def test_size_of_pipelines_without_prompts_is_the_stock_ones(name: str) -> None:
    pipe = built(name)
    told = {"class_labels": [0], "guidance_scale": 1.0} if name == "dit" else {}
    assert pipe(**told, num_inference_steps=1, output_type="np").images.shape[1:3] == own_size(pipe)


def test_size_of_sana_is_that_of_its_latents() -> None:
    """Its pipeline asks for 1024 and then takes the nearest size that the transformer's own has."""
    pipe = built("sana")
    assert own_size(pipe) == (pipe.transformer.config.sample_size * pipe.vae_scale_factor,) * 2


def own_size(pipe: Any) -> tuple[int, int]:
    """What ``open_pipe`` takes when nobody says a size."""
    return _own_size(Pipe(pipe, family_of(type(pipe).__name__, "x"), "x", (0, 0)))


def test_pipeline_without_a_size_needs_one(tmp_path: Path) -> None:
    pipe = built("sd")
    pipe.unet.register_to_config(sample_size=None)
    pipe.save_pretrained(tmp_path)
    with pytest.raises(DataError, match="states no size of images"):
        open_pipe(tmp_path)
    assert open_pipe(tmp_path, (32, 16)).size == (32, 16)


def test_names_of_classes_are_those_of_the_index(tmp_path: Path) -> None:
    built("dit").save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    names = {"0": "tench, Tinca tinca", "1": "goldfish", "2": "shark", "4": "ray"}
    (tmp_path / "model_index.json").write_text(json.dumps(index | {"id2label": names}))
    model = open_pipe(tmp_path, (16, 16)).model(1, 1.0)
    assert model.classes == ("Tinca tinca, tench", "goldfish", "shark", "3", "ray")
    assert model.conditions("goldfish", 1).equal(torch.tensor([1]))
