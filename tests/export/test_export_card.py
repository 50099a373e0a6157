"""The card's front matter is what the Hub reads, and its snippet draws the picture beside it."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from students import changed, few_step, wanted

from fewstep.evaluate import Row
from fewstep.export import Student, export
from fewstep.export.card import base_of, front_matter_of
from fewstep.export.comfy import comfy
from fewstep.interop import Pipe

Exported = Callable[..., Path]
OTHER = Row("teacher", 50, 100, 0.5, None, None, None, None, None, 0.1, 100)
ROW = Row("student", 4, 4, 1.25, None, None, None, None, None, 0.1, 100)


def front(folder: Path) -> dict[str, Any]:
    return dict(front_matter_of(str(folder)))


def test_front_matter_of_an_adapter(exported: Exported) -> None:
    words = front(exported("sdxl", "kohya"))
    assert words["library_name"] == "diffusers"
    assert words["license"] == "unknown"
    assert words["pipeline_tag"] == "text-to-image"
    assert {"lora", "template:sd-lora", "stable-diffusion-xl", "stable-diffusion-xl-diffusers"} <= set(words["tags"])
    assert words["widget"][0] == {"text": "a red disc", "output": {"url": "images/0.png"}}
    assert "<Gallery />" in (exported("sdxl", "kohya") / "README.md").read_text()


def test_licence_and_id_of_the_base_are_inherited(pipe: Callable[[str], Pipe], tmp_path: Path) -> None:
    source = pipe("sd")
    base = shutil.copytree(source.place, tmp_path / "base")
    (base / "README.md").write_text("---\nlicense: other\nlicense_name: theirs\nlicense_link: a/b\n---\n# Base\n")
    index = json.loads((base / "model_index.json").read_text()) | {"_name_or_path": "somebody/a-base"}
    (base / "model_index.json").write_text(json.dumps(index))
    student = Student.of(
        few_step(source, changed(source)), Pipe(source.pipeline, source.family, str(base), source.size)
    )
    export(student, tmp_path / "x", wanted("folder", rows=(OTHER, ROW)), None)
    words, text = front(tmp_path / "x"), (tmp_path / "x" / "README.md").read_text()
    assert (words["license"], words["license_name"], words["license_link"]) == ("other", "theirs", "a/b")
    assert (words["base_model"], words["base_model_relation"]) == ("somebody/a-base", "finetune")
    (index,) = words["model-index"]
    (result,) = index["results"]
    assert (index["name"], result["task"]["type"], result["dataset"]["name"]) == ("x", "text-to-image", "unknown")
    assert [(each["type"], each["value"]) for each in result["metrics"]] == [("frechet", 1.25)]
    assert result["metrics"][0]["name"] == "Fréchet distance, 4 steps, 100 images"
    assert "1.25" in text.partition("## Measured")[2]
    other = {"model": "teacher", "steps": 50, "calls": 100, "frechet": 0.5, "seconds_per_image": 0.1, "samples": 100}
    measured = {"model": "student", "steps": 4, "calls": 4, "frechet": 1.25, "seconds_per_image": 0.1, "samples": 100}
    assert json.loads((tmp_path / "x" / "few_step.json").read_text())["metrics"] == [other, measured]
    assert "**Not checked**" in text


def test_base_is_named_by_its_id_only(tmp_path: Path) -> None:
    assert base_of("somebody/a-base") == "somebody/a-base"
    assert base_of(str(tmp_path)) is None
    assert base_of("/no/such/place") is None


def test_snippet_names_the_id_of_the_base_where_it_is_known(
    pipe: Callable[[str], Pipe], student: Callable[[str], Student], tmp_path: Path
) -> None:
    base = shutil.copytree(pipe("sd3").place, tmp_path / "base")
    index = json.loads((base / "model_index.json").read_text()) | {"_name_or_path": "somebody/a-base"}
    (base / "model_index.json").write_text(json.dumps(index))
    found = student("sd3")
    export(replace(found, pipe=replace(found.pipe, place=str(base))), tmp_path / "x", wanted(), None)
    text = (tmp_path / "x" / "README.md").read_text()
    assert 'from_pretrained("somebody/a-base")' in text
    assert str(tmp_path) not in text
    assert "model-index" not in front(tmp_path / "x")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "form"), [("sana", "lora"), ("sdxl", "kohya"), ("pixart", "folder"), ("control", "lora")]
)
def test_snippet_draws_the_picture(exported: Exported, monkeypatch: pytest.MonkeyPatch, name: str, form: str) -> None:
    folder = exported(name, form, 1.0 if name == "pixart" else 0.0)
    snippet = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert snippet is not None
    monkeypatch.chdir(folder.parent)
    names: dict[str, object] = {}
    exec(snippet[1], names)
    there = np.asarray(Image.open(folder / "images" / "0.png"), dtype=float)
    assert np.abs(np.asarray(names["image"], dtype=float) - there).max() <= 1


def test_sentences_of_the_card_are_apart(exported: Exported) -> None:
    text = (exported("sd", "lora", 1.0) / "README.md").read_text()
    assert "a negative prompt does nothing.\nBetween two steps fresh noise is added.\n" in text


# --- ComfyUI


def few(exported: Exported, *key: object) -> dict[str, Any]:
    return json.loads((exported(*key) / "few_step.json").read_text())


def test_comfy_is_told_sampler_grid_and_shift(exported: Exported) -> None:
    text = comfy(few(exported, "sd3", "lora", 1.0))
    assert "sampler `lcm`, scheduler `simple`, steps 4, 2, 1, cfg 1. Set the shift 3" in text


def test_comfy_is_told_the_logarithm_of_flux_shift_and_its_guidance(exported: Exported) -> None:
    """The node's own formula: e^mu / (e^mu + 1/t - 1), mu the same for every size when both shifts are."""
    words = few(exported, "flux")
    text, shift = comfy(words), words["shift"]
    found = re.search(r"`max_shift` and `base_shift` both to (\S+) ", text)
    assert found is not None
    grid = [exp(float(found[1])) / (exp(float(found[1])) + 1 / t - 1) for t in (1, 0.75, 0.5, 0.25)]
    assert grid == pytest.approx([step / 1000 for step in words["timesteps"]["4"]], abs=1e-4)
    assert "Set the shift" not in text
    assert shift > 1
    assert f"guidance scale {words['guidance']['scale']:g} with the node `FluxGuidance`" in text
    assert "FluxGuidance" not in comfy(words | {"guidance": words["guidance"] | {"mode": "none"}})


def test_comfy_is_advised_nothing_that_export_refuses(exported: Exported) -> None:
    text = comfy(few(exported, "pixart", "folder", 1.0))
    assert "LoRA" not in text
    assert "diffusers node" in text
    assert comfy(few(exported, "sana")).endswith("and drop them all: draw with diffusers.")
    sana = comfy(few(exported, "sana") | {"form": "folder"})
    assert sana.endswith("cfg 1. Set the shift 3 with the node `ModelSamplingSD3`.")


def test_comfy_has_no_sampler_for_a_share_of_time(exported: Exported) -> None:
    told = few(exported, "sdxl", "kohya") | {"scheduler": "TCDScheduler", "eta": 0.3, "stochastic": True}
    assert comfy(told).endswith("None of its own samplers does what TCDScheduler does with eta 0.3.")


def test_comfy_wants_kohya_names_of_a_unet(exported: Exported) -> None:
    assert "--form kohya" in comfy(few(exported, "sd", "lora", 1.0))
    assert "few_step_lora.safetensors" in comfy(few(exported, "sdxl", "kohya"))


def test_comfy_is_told_odd_time_steps(exported: Exported) -> None:
    odd = few(exported, "sdxl", "kohya") | {"timesteps": {"2": [999.0, 399.0]}}
    assert "your own list of time steps (of 1000): 2: 999, 399" in comfy(odd)


def test_comfy_is_told_what_the_network_predicts(exported: Exported) -> None:
    """ComfyUI sees weights alone: of a Stable Diffusion with v-prediction it thinks that it predicts the noise."""
    words = few(exported, "sdxl", "kohya")
    assert "ModelSamplingDiscrete" not in comfy(words)
    plain = comfy(words | {"prediction_type": "v_prediction"})
    assert plain.endswith("sampling `v_prediction` and zsnr `false` in the node `ModelSamplingDiscrete`.")
    zero = few(exported, "sd-v", "lora") | {"form": "kohya", "weight_name": "x"}
    assert "sampling `v_prediction` and zsnr `true`" in comfy(zero)


def test_contract_says_all_that_a_caller_needs(exported: Exported) -> None:
    words = few(exported, "sd3", "lora", 1.0)
    assert words["format_version"] == 1
    assert words["num_steps"] == [4, 2, 1]
    assert words["timesteps"]["4"] == [1000.0, 900.0, 750.0, 500.0]
    assert words["call"]["2"]["sigmas"] == words["sigmas"]["2"] == [1.0, 0.75]
    assert (words["shift"], words["stochastic"], words["prediction_type"]) == (3.0, True, "flow")
    assert words["lora"] == {"r": 4, "alpha": 4, "modules": 33}
    assert words["guidance"] == {"mode": "none", "scale": None, "trained_range": [1.0, 1.0], "negative_prompt": False}
    assert (words["method"], words["train"]["seed"], words["resolutions"]) == ("a-recipe", 3, [[32, 32]])
