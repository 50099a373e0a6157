"""Students of pipelines that are told images: stock diffusers, shown the same ones, draws the same pictures."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from students import ASKED, changed, checked, few_step, wanted

from fewstep.errors import WeightsError
from fewstep.export import Student, export, fresh, verify
from fewstep.guidance import CFG, EditCFG
from fewstep.interop import Pipe
from fewstep.sampling import FewStep
from fewstep.times import Trailing

Exported = Callable[..., Path]
FAST = {("control", "lora", 0.0), ("inpaint", "folder", 1.0), ("edit", "lora", 1.0), ("inpaint-xl", "lora", 0.0)}
KINDS = [kind + size for kind in ("control", "inpaint", "edit") for size in ("", "-xl")]
ALL = [(name, form, gamma) for name in KINDS for form in ("lora", "folder") for gamma in (0.0, 1.0)]
WORDS = {"control": {"control": "image"}, "inpaint": {"mask": "mask_image", "source": "image"}}
WORDS |= {"edit": {"source": "image"}}


@pytest.mark.parametrize(
    ("name", "form", "gamma"),
    [pytest.param(*each, marks=() if each in FAST else pytest.mark.slow, id="-".join(map(str, each))) for each in ALL],
)
def test_stock_pipeline_draws_what_the_student_drew(exported: Exported, name: str, form: str, gamma: float) -> None:
    folder = exported(name, form, gamma)
    few = json.loads((folder / "few_step.json").read_text())
    assert few["extra_inputs"] == WORDS[name.removesuffix("-xl")]
    assert checked(folder).worst < 2e-5
    card = (folder / "README.md").read_text()
    for given, word in few["extra_inputs"].items():
        assert f"{word}=load_image('{folder.name}/images/{given}.png')" in card
        assert (folder / "images" / f"{given}.png").is_file()
    assert "pipeline_tag: image-to-image" in card


@pytest.mark.slow
@pytest.mark.parametrize("name", ["control", "inpaint"])
def test_fresh_process_is_shown_the_same_images(exported: Exported, name: str) -> None:
    assert verify(exported(name, "lora", 0.0)).worst < 2e-5


def test_other_image_is_noticed(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof depends on what the pipeline is shown."""
    folder = exported("control", "lora", 0.0)
    shown = fresh._shown
    monkeypatch.setattr(fresh, "_shown", lambda *given: {key: 1 - image for key, image in shown(*given).items()})
    with pytest.raises(WeightsError, match="draws other images"):
        checked(folder)


def test_proof_holds_the_images(exported: Exported) -> None:
    with safe_open(exported("inpaint", "folder", 1.0) / fresh.PROOF, "pt") as opened:
        mask, source = opened.get_tensor("given.mask"), opened.get_tensor("given.source")
    assert (mask.shape, mask.dtype) == ((len(ASKED.prompts), 1, 32, 32), torch.uint8)
    assert set(mask.unique().tolist()) == {0, 255}
    assert source.shape == (len(ASKED.prompts), 3, 32, 32)


def test_guided_edit_student_is_guided_by_its_prompt_alone(pipe: Callable[[str], Pipe], tmp_path: Path) -> None:
    source = pipe("edit")
    sampler = FewStep(Trailing(1.0), (2,), 0.0, (CFG(3.0),))
    model = replace(few_step(source, changed(source)), sampler=sampler)
    few = export(Student.of(model, source), tmp_path / "x", wanted("folder"), lambda folder, _: checked(folder))
    assert few["call"]["2"]["image_guidance_scale"] == 1.0
    assert few["checks"]["reload_max_abs_diff"] < 5e-5
    with pytest.raises(WeightsError, match="sampled under EditCFG"):
        Student.of(replace(model, sampler=replace(sampler, guidance=(EditCFG(3.0),))), source)
