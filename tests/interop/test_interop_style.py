"""A style is merged whole, or refused in words: no key of it is dropped in silence."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import built, random_lora

from fewstep import WeightsError
from fewstep.interop import open_pipe
from fewstep.interop.families import FAMILIES
from fewstep.interop.style import merge_style

FILE = "pytorch_lora_weights.safetensors"
FLUX = next(family for family in FAMILIES if family.name == "flux")


def flux_of_kohya(to: Path, block: int, blocks: int) -> Path:
    """An adapter of ``blocks`` blocks from ``block`` on, in which one key stands for three layers of diffusers."""
    tensors = {}
    for i in range(block, block + blocks):
        name = f"lora_unet_double_blocks_{i}_img_attn_qkv"
        tensors |= {f"{name}.lora_down.weight": torch.randn(2, 16), f"{name}.lora_up.weight": torch.randn(48, 2)}
        tensors[f"{name}.alpha"] = torch.tensor(2.0)
    save_file(tensors, to)
    return to


def test_style_is_merged(folder: Path, tmp_path: Path) -> None:
    plain, styled = open_pipe(folder), open_pipe(folder, lora=random_lora(folder, tmp_path))
    before, after = dict(plain.backbone.named_parameters()), dict(styled.backbone.named_parameters())
    different = {name for name, weight in before.items() if not weight.equal(after[name])}
    assert different == {name for name in before if name.endswith("to_q.weight")}
    assert styled.model().facts["style"] == [str(tmp_path)]


@pytest.mark.parametrize("prefix", ["transformer.", "", "unet.nothing."])
def test_style_of_another_base_is_refused(folder: Path, tmp_path: Path, prefix: str) -> None:
    style = random_lora(folder, tmp_path, prefix)
    with pytest.raises(WeightsError, match="pytorch_lora_weights"):
        open_pipe(folder, lora=style)


def test_missing_style_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="There is no LoRA file"):
        open_pipe(folder, lora=tmp_path)


def test_other_files_than_safetensors_are_refused(folder: Path, tmp_path: Path) -> None:
    torch.save({}, tmp_path / "x.bin")
    with pytest.raises(WeightsError, match=r"x.bin is no .safetensors file, and no other kind is read"):
        open_pipe(folder, lora=tmp_path / "x.bin")


def test_broken_file_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"half a file")
    with pytest.raises(WeightsError, match=r"cannot be read as an adapter of this pipeline: .*header"):
        open_pipe(folder, lora=tmp_path)


def test_key_of_several_layers_does_not_hide_a_dropped_one(tmp_path: Path) -> None:
    """One block of kohya's names has three layers in diffusers' names; the second block is not in this pipeline."""
    pipe = built("flux")
    with pytest.raises(WeightsError, match="changes 6 layers, of which this pipeline has 3"):
        merge_style(pipe, FLUX, flux_of_kohya(tmp_path / "two.safetensors", 0, 2))
    pipe = built("flux")
    before = pipe.transformer.transformer_blocks[0].attn.to_v.weight.clone()
    merge_style(pipe, FLUX, flux_of_kohya(tmp_path / "one.safetensors", 0, 1))
    assert not pipe.transformer.transformer_blocks[0].attn.to_v.weight.equal(before)


def test_magnitudes_that_the_reader_drops_are_refused(folder: Path, tmp_path: Path) -> None:
    """DoRA: without its magnitudes the adapter is another one."""
    file = random_lora(folder, tmp_path) / FILE
    tensors = load_file(file)
    ups = {
        key.replace("lora_B.weight", "dora_scale"): up[:, :1].clone() for key, up in tensors.items() if "lora_B" in key
    }
    save_file(tensors | ups, file)
    with pytest.raises(WeightsError, match=r"does not take all of it: .*DoRA"):
        open_pipe(folder, lora=tmp_path)


def test_style_that_adds_nothing_is_refused(folder: Path, tmp_path: Path) -> None:
    file = random_lora(folder, tmp_path) / FILE
    save_file({key: value * ("lora_A" in key) for key, value in load_file(file).items()}, file)
    with pytest.raises(WeightsError, match="leaves the unet as it is"):
        open_pipe(folder, lora=tmp_path)
