"""Whatever is done to an export, its check notices; what is harmless, it lets pass."""

import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from students import checked

import fewstep as fs
from fewstep.export import fresh, verify
from fewstep.export.verify import _last_words, compared
from fewstep.interop import Pipe

FILE = "pytorch_lora_weights.safetensors"
A, B = "lora_A.weight", "lora_B.weight"
Change = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture
def copied(
    exported: Callable[..., Path], pipe: Callable[[str], Pipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A LoRA of Stable Diffusion, to be changed; its base is read from memory."""
    shutil.copytree(exported("sd", "lora", 1.0), tmp_path / "x")
    bases = {pipe(name).place: pipe(name).pipeline for name in ("sd", "sd-v")}
    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", lambda place, **_: deepcopy(bases[str(place)]))
    return tmp_path / "x"


def rewrite(folder: Path, change: Change, metadata: bool = True) -> None:
    """Change the tensors of the LoRA."""
    with safe_open(folder / FILE, "pt") as opened:
        words = opened.metadata()
    save_file(change(load_file(folder / FILE)), folder / FILE, words if metadata else {"format": "pt"})


def edit(path: Path, **changes: Any) -> None:
    """Change a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def old_style(tensors: dict[str, Any], first: int) -> dict[str, Any]:
    """The spelling of old scripts, for all keys from the first one on."""
    names = sorted(tensors)
    return {
        name.replace("lora_A", "lora.down").replace("lora_B", "lora.up") if i >= first else name: tensors[name]
        for i, name in enumerate(names)
    }


def test_what_was_written_holds(copied: Path) -> None:
    assert checked(copied).worst < 2e-5


def test_readers_without_metadata_are_right_too(copied: Path) -> None:
    rewrite(copied, lambda tensors: tensors, metadata=False)
    assert checked(copied).worst < 2e-5


def test_old_spelling_of_all_keys_is_right_too(copied: Path) -> None:
    rewrite(copied, lambda tensors: old_style(tensors, 0))
    assert checked(copied).worst < 2e-5


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda t: {n: w for n, w in t.items() if "conv_in" not in n},
            r"layers have .* \(without: conv_in\)",
        ),
        (lambda t: {n: w for n, w in t.items() if n != f"unet.conv_in.{B}"}, r"missing keys|other images"),
        (lambda t: {n: w / 2 if n.endswith(B) else w for n, w in t.items()}, r"other images .*tolerated is 0.001"),
        (lambda t: old_style(t, 12), r"layers have an adapter; \d+ were trained .*without: "),
        (lambda t: {n.replace("unet.", "transformer."): w for n, w in t.items()}, r"\b0 layers have|No LoRA keys"),
        (lambda t: {n.removeprefix("unet."): w for n, w in t.items()}, r"\b0 layers have|No LoRA keys"),
        (lambda t: {n: w for n, w in t.items() if "attn" not in n}, r"layers have an adapter; \d+ were trained"),
    ],
    ids=["dropped layer", "dropped B", "halved B", "mixed styles", "wrong prefix", "no prefix", "no attention"],
)
def test_changed_adapter_is_noticed(copied: Path, change: Change, words: str) -> None:
    rewrite(copied, change)
    with pytest.raises(fs.WeightsError, match=words):
        checked(copied)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
def test_mixed_styles_without_metadata_are_noticed(copied: Path) -> None:
    """The silent case: no reader says a word."""
    rewrite(copied, lambda tensors: old_style(tensors, 12), metadata=False)
    with pytest.raises(fs.WeightsError, match=r"layers have an adapter; \d+ were trained"):
        checked(copied)


def test_other_base_is_refused(copied: Path, pipe: Callable[[str], Pipe]) -> None:
    with pytest.raises(fs.WeightsError, match=r"made on a base with the weights \w{16}; the one .*--base"):
        checked(copied, _other(pipe("sd")))


def test_base_of_another_family_is_named(
    copied: Path, pipe: Callable[[str], Pipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", lambda *_, **__: pipe("sd3").pipeline)
    with pytest.raises(ValueError, match=r"the base /a/b is a StableDiffusion3Pipeline, which has no unet"):
        checked(copied, "/a/b")


def _other(source: Pipe) -> str:
    """The place of the same pipeline with one other number in it."""
    place = str(Path(source.place).with_name("other"))
    read = diffusers.DiffusionPipeline.from_pretrained
    changed = deepcopy(source.pipeline)
    next(changed.unet.parameters()).data[0] += 1e-3
    diffusers.DiffusionPipeline.from_pretrained = lambda at, **more: changed if str(at) == place else read(at, **more)
    return place


def test_other_time_steps_of_the_scheduler_are_noticed(copied: Path) -> None:
    edit(copied / "scheduler" / "scheduler_config.json", original_inference_steps=50)
    with pytest.raises(fs.WeightsError, match=r"\[999.0, 749.0, 499.0, 249.0\] .*LCMScheduler yields \[999.0, 759.0"):
        checked(copied)


def test_other_time_steps_in_the_contract_are_noticed(copied: Path) -> None:
    steps = json.loads((copied / "few_step.json").read_text())["timesteps"] | {"2": [999.0, 399.0]}
    edit(copied / "few_step.json", timesteps=steps)
    with pytest.raises(fs.WeightsError, match=r"few_step.json states \[999.0, 399.0\]"):
        checked(copied)


def test_other_prediction_of_the_scheduler_is_noticed(copied: Path) -> None:
    edit(copied / "scheduler" / "scheduler_config.json", prediction_type="v_prediction")
    with pytest.raises(fs.WeightsError, match="other images"):
        checked(copied)


def test_other_guidance_is_noticed(copied: Path) -> None:
    calls = json.loads((copied / "few_step.json").read_text())["call"]
    edit(copied / "few_step.json", call={n: call | {"guidance_scale": 5.0} for n, call in calls.items()})
    with pytest.raises(fs.WeightsError, match="other images"):
        checked(copied)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_steps": [4, 2, 1, 8]}, r"proven in .*few_step.json is for 1, 2, 4, 8 \(num_steps\)"),
        ({"sigmas": {}}, r"few_step.json states sigmas \{\}; the student in memory had"),
        ({"stochastic": False}, r"states stochastic False; the student in memory had True"),
        ({"prediction_type": "flow"}, r"states prediction_type 'flow'; the student in memory had 'epsilon'"),
        ({"scheduler": "DDIMScheduler"}, r"states scheduler 'DDIMScheduler'; .*'LCMScheduler'"),
    ],
)
def test_other_words_of_the_contract_are_noticed(copied: Path, changes: dict[str, Any], words: str) -> None:
    edit(copied / "few_step.json", **changes)
    with pytest.raises(fs.WeightsError, match=words):
        checked(copied)


def test_number_of_steps_without_a_call_is_noticed(copied: Path) -> None:
    calls = json.loads((copied / "few_step.json").read_text())["call"]
    edit(copied / "few_step.json", call={"1": calls["1"]})
    with pytest.raises(fs.WeightsError, match=r"says how to call it in 1 \(call\). Restore the file"):
        checked(copied)


def test_images_of_another_size_are_named(copied: Path) -> None:
    images, report = fresh.reproduce(copied)
    with pytest.raises(fs.WeightsError, match=r"draws images of the shape \(2, 16, 16, 3\) .* drew \(2, 32, 32, 3\)"):
        compared(copied, {count: image[:, :16, :16] for count, image in images.items()}, report)


def halved(path: Path) -> None:
    """Cut a file in two, as a copy that was interrupted is."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: halved(x / FILE), rf"{FILE} cannot be read"),
        (lambda x: halved(x / fresh.PROOF), r"proof.safetensors cannot be read"),
        (lambda x: halved(x / "few_step.json"), r"few_step.json cannot be read"),
        (lambda x: (x / "few_step.json").write_text("{}"), r"few_step.json does not say form, num_steps, timesteps"),
        (lambda x: (x / fresh.PROOF).unlink(), r"it has no proof.proof.safetensors"),
        (
            lambda x: edit(x / "few_step.json", base_model="/no/such"),
            r"The base of .* is not at /no/such. Give .*--base",
        ),
        (lambda x: edit(x / "few_step.json", base_style=["/no/style"]), r"/no/style, which was merged .* is not there"),
    ],
    ids=["adapter", "proof", "contract", "empty contract", "no proof", "no base", "no style"],
)
def test_file_that_cannot_be_read_is_named_before_anything_is_drawn(
    copied: Path, change: Callable[[Path], None], words: str
) -> None:
    change(copied)
    with pytest.raises(fs.WeightsError, match=words):
        verify(copied)


def test_last_words_of_a_process_are_its_whole_error() -> None:
    traceback = "a warning\nTraceback (most recent call last):\n  File 'x', line 1, in <module>\n    f()\n    ~^^\n"
    assert _last_words(f"{traceback}RuntimeError: Error in loading:\n\tsize mismatch for conv_in.\n") == (
        "RuntimeError: Error in loading: size mismatch for conv_in."
    )
    assert _last_words("") == "it ended without a word."


def test_adapter_that_might_be_a_pickle_is_not_read(copied: Path) -> None:
    (copied / FILE).rename(copied / "x.bin")
    edit(copied / "few_step.json", weight_name="x.bin")
    with pytest.raises(ValueError, match=r"x.bin is no .safetensors file"):
        checked(copied)


def test_base_of_pickles_is_not_read(
    exported: Callable[..., Path], pipe: Callable[[str], Pipe], tmp_path: Path
) -> None:
    shutil.copytree(pipe("sd").place, tmp_path / "base")
    weights = tmp_path / "base" / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(OSError, match=r"diffusion_pytorch_model.safetensors"):
        checked(exported("sd", "lora", 1.0), str(tmp_path / "base"))


def test_folder_of_pickles_is_not_read(exported: Callable[..., Path], tmp_path: Path) -> None:
    shutil.copytree(exported("sd", "folder"), tmp_path / "x")
    weights = tmp_path / "x" / "vae" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(OSError, match=r"diffusion_pytorch_model.safetensors"):
        checked(tmp_path / "x")
