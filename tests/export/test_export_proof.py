"""Stock diffusers draws from every form of export, for every family, what the student in memory drew."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from students import ASKED, adapted, changed, checked, few_step, wanted
from tiny import built, random_lora

import fewstep as fs
from fewstep.export import Student, export, fresh, verify
from fewstep.guidance import CFG
from fewstep.interop import Bridge, Pipe, open_pipe
from fewstep.sampling import FewStep
from fewstep.times import Explicit, Trailing

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Euler, in diffusers
Exported = Callable[..., Path]
ODD = Explicit((1.0, 0.8, 0.44))
TEXTS = ("sd", "sd-v", "sdxl", "sd3", "flux", "schnell", "sana")
FAST = {  # each family once
    ("sd", "lora", 1.0),
    ("sdxl", "kohya", 0.0),
    ("sd3", "lora", 1.0),
    ("flux", "lora", 0.0),
    ("sana", "lora", 0.0),
    ("pixart", "folder", 1.0),
    ("dit", "folder", 0.0),
    ("unconditional", "folder", 1.0),
}
FORMS = {
    "lora": TEXTS,
    "folder": ("sd", "sd-v", "sdxl", "sd3", "flux", "schnell", "pixart", "sana", "dit", "unconditional"),
    "kohya": ("sd", "sd-v", "sdxl"),
}
ALL = [(name, form, gamma) for form, names in FORMS.items() for name in names for gamma in (0.0, 1.0)]


@pytest.mark.parametrize(
    ("name", "form", "gamma"),
    [pytest.param(*each, marks=() if each in FAST else pytest.mark.slow, id="-".join(map(str, each))) for each in ALL],
)
def test_stock_pipeline_draws_what_the_student_drew(exported: Exported, name: str, form: str, gamma: float) -> None:
    folder = exported(name, form, gamma)
    found = checked(folder)
    few = json.loads((folder / "few_step.json").read_text())
    with safe_open(folder / fresh.PROOF, "pt") as opened:
        drawn = [opened.get_tensor(count) for count in ("1", "2", "4")]
    assert found.worst < 2e-5
    assert found.modules == (few["lora"]["modules"] if few["lora"] else 0)
    assert all(image.std() > 0.02 for image in drawn)
    assert all((a - b).abs().max() > 0.005 for a, b in pairwise(drawn))


@pytest.mark.slow  # one style of the two below
def test_base_with_a_style_is_put_together_again(pipe: Callable[[str], Pipe], tmp_path: Path) -> None:
    base = Path(pipe("sd").place)
    styled = open_pipe(base, lora=random_lora(base, tmp_path / "style"))
    student = Student.of(few_step(styled, adapted(styled), 1.0), styled)
    export(student, tmp_path / "x", wanted(), None)
    few = json.loads((tmp_path / "x" / "few_step.json").read_text())
    assert (few["base_model"], few["base_style"]) == (str(base), [str(tmp_path / "style")])
    assert checked(tmp_path / "x").worst < 2e-5
    (tmp_path / "x" / "few_step.json").write_text(json.dumps(few | {"base_style": []}))
    with pytest.raises(fs.WeightsError, match="On other weights it draws something else"):
        checked(tmp_path / "x")


def test_base_in_a_variant_with_two_styles_is_put_together_again(
    pipe: Callable[[str], Pipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the check and by the snippet of the card."""
    base = tmp_path / "base"
    halved = built("sd")
    for part in (halved.unet, halved.vae, halved.text_encoder):
        part.half()
    halved.save_pretrained(base, variant="fp16")
    styles = [random_lora(Path(pipe("sd").place), tmp_path / name) for name in ("one", "two")]
    styled = open_pipe(base, (32, 32), lora=styles)
    few = export(Student.of(few_step(styled, adapted(styled), 1.0), styled), tmp_path / "x", wanted(), None)
    assert (few["base_variant"], few["base_revision"], few["base_style"]) == ("fp16", None, list(map(str, styles)))
    assert checked(tmp_path / "x").worst < 2e-5
    snippet = re.search(r"```python\n(.*?)```", (tmp_path / "x" / "README.md").read_text(), re.DOTALL)
    assert snippet is not None
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(snippet[1], names)
    there = np.asarray(Image.open(tmp_path / "x" / "images" / "0.png"), dtype=float)
    assert np.abs(np.asarray(names["image"], dtype=float) - there).max() <= 1
    for wrong in (styles[:1], str(styles[0])):
        (tmp_path / "x" / "few_step.json").write_text(json.dumps(few | {"base_style": wrong}, default=str))
        with pytest.raises(fs.WeightsError, match="On other weights it draws something else"):
            checked(tmp_path / "x")


def test_export_of_old_with_one_style_still_holds(pipe: Callable[[str], Pipe], tmp_path: Path) -> None:
    base, style = Path(pipe("sd").place), random_lora(Path(pipe("sd").place), tmp_path / "style")
    styled = open_pipe(base, lora=style)
    few = export(Student.of(few_step(styled, adapted(styled), 1.0), styled), tmp_path / "x", wanted(), None)
    old = {key: value for key, value in few.items() if key not in ("base_variant", "base_revision")}
    (tmp_path / "x" / "few_step.json").write_text(json.dumps(old | {"base_style": str(style)}))
    assert checked(tmp_path / "x").worst < 2e-5


@pytest.mark.slow
def test_fresh_process_knows_nothing_of_fewstep(exported: Exported) -> None:
    assert verify(exported("sd", "lora", 1.0)).worst < 2e-5


def test_seeds_mean_the_same_in_stock_pipelines(exported: Exported, pipe: Callable[[str], Pipe]) -> None:
    """Item i of ``model.sample(seeds)`` is what the stock pipeline draws with a generator of that seed."""
    folder, source = exported("sana", "folder", 1.0), pipe("sana")
    student = Student.of(few_step(source, changed(source), 1.0), source)
    ours = source.decode(student.model.sample([0, 1], source.prompts(ASKED.prompts), 4))
    with safe_open(folder / fresh.PROOF, "pt") as opened:
        theirs = opened.get_tensor("4").permute(0, 3, 1, 2) * 2 - 1
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def scaled(source: Pipe) -> Bridge:
    """The U-Net with other weights, which is told a guidance scale."""
    net = Bridge("sd", source.backbone.config, source.packing.shapes, scale=True)
    net.load_state_dict(changed(source).state_dict(), strict=False)
    net.get_parameter("backbone.time_embedding.cond_proj.weight").data.normal_(
        generator=torch.Generator().manual_seed(2)
    )
    net.empty = source.packing.pack(source.nothing())[0]
    return net


EULER, LCM, TCD = ({"scheduler": f"{name}Scheduler"} for name in ("EulerDiscrete", "LCM", "TCD"))
TWO_CALLS, INPUT = {"guidance": "cfg"}, {"guidance": "embedded"}
SETTINGS = {
    "euler": ("sd", FewStep(ODD, (3,), 0.0), EULER),
    "lcm": ("sd", FewStep(ODD, (3,), 1.0), LCM),
    "cfg": ("sd", FewStep(Trailing(1.0), (2,), 0.0, (CFG(3.0),)), TWO_CALLS),
    "cfg-flow": ("sd3", FewStep(ODD, (3,), 1.0, (CFG(3.0),)), TWO_CALLS),
    "embedded": ("sd", FewStep(Trailing(1.0), (2,), 1.0, (), 6.0), INPUT),
    "flux": ("flux", FewStep(ODD, (3,), 0.0, (), 5.0), INPUT),
    "tcd": ("sd-v", FewStep(Trailing(1.0), (4, 1), eta=0.3), TCD),
    "tcd-told": ("pixart", FewStep(ODD, (3,), eta=0.3), TCD),
    "tcd-0": ("sd", FewStep(Trailing(1.0), (4,), eta=0.0), TCD),
    "tcd-1": ("sd", FewStep(Trailing(1.0), (2,), eta=1.0), TCD),
}
FURTHER = ("cfg", "tcd-0", "tcd-1")


@pytest.mark.parametrize(
    ("name", "sampler", "words"),
    [pytest.param(*each, marks=pytest.mark.slow if key in FURTHER else (), id=key) for key, each in SETTINGS.items()],
)
def test_settings_hold(
    pipe: Callable[[str], Pipe], tmp_path: Path, name: str, sampler: FewStep, words: dict[str, str]
) -> None:
    """Time steps of one's own, guidance by two calls, a guidance scale as an input."""
    source = pipe(name)
    told = sampler.scale is not None and name == "sd"
    model = replace(few_step(source, scaled(source) if told else changed(source)), sampler=sampler)
    few = export(Student.of(model, source), tmp_path / "x", wanted("folder"), lambda folder, _: checked(folder))
    assert few["checks"]["reload_max_abs_diff"] < 5e-5
    assert few["eta"] == sampler.eta
    assert few["stochastic"] == ((sampler.gamma if sampler.eta is None else sampler.eta) > 0)
    assert {"scheduler": few["scheduler"], "guidance": few["guidance"]["mode"]}.items() >= words.items()
