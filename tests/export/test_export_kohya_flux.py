"""Flux under the names that it was published with: what ComfyUI's map and stock diffusers make of the file."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import FluxPipeline
from safetensors.torch import load_file
from students import adapted, checked, few_step, wanted

import fewstep as fs
from fewstep.export import Adapter, Student, export
from fewstep.export.kohya import kohya_tensors, kohya_whole
from fewstep.interop import Pipe
from fewstep.networks import Lora

Get = Callable[[str], Pipe]
SINGLE = {"num_attention_heads": 24, "attention_head_dim": 128}  # FLUX.1
TARGETS = (r"\.transformer_blocks", r"single_transformer_blocks.0.(proj_out|norm)")  # what a narrow Flux can be read of
DOUBLE_MAP = {  # comfy/utils.py, flux_to_diffusers: where a layer is, from which row on, and how many (in widths)
    "attn.to_q": ("img_attn.qkv", 0, 1),
    "attn.to_k": ("img_attn.qkv", 1, 1),
    "attn.to_v": ("img_attn.qkv", 2, 1),
    "attn.add_q_proj": ("txt_attn.qkv", 0, 1),
    "attn.add_k_proj": ("txt_attn.qkv", 1, 1),
    "attn.add_v_proj": ("txt_attn.qkv", 2, 1),
    "attn.to_out.0": ("img_attn.proj", 0, 1),
    "attn.to_add_out": ("txt_attn.proj", 0, 1),
    "norm1.linear": ("img_mod.lin", 0, 6),
    "norm1_context.linear": ("txt_mod.lin", 0, 6),
    "ff.net.0.proj": ("img_mlp.0", 0, 4),
    "ff.net.2": ("img_mlp.2", 0, 1),
    "ff_context.net.0.proj": ("txt_mlp.0", 0, 4),
    "ff_context.net.2": ("txt_mlp.2", 0, 1),
}
SINGLE_MAP = {
    "attn.to_q": ("linear1", 0, 1),
    "attn.to_k": ("linear1", 1, 1),
    "attn.to_v": ("linear1", 2, 1),
    "proj_mlp": ("linear1", 3, 4),
    "proj_out": ("linear2", 0, 1),
    "norm.linear": ("modulation.lin", 0, 3),
}
INPUTS = {"ff.net.2": 4, "ff_context.net.2": 4, "proj_out": 5}  # in widths; all others one
BLOCKS = {
    "transformer_blocks": ("double_blocks", DOUBLE_MAP),
    "single_transformer_blocks": ("single_blocks", SINGLE_MAP),
}
OUTSIDE = {  # the same map, outside the blocks
    "x_embedder", "context_embedder", "norm_out.linear", "proj_out",
    *(f"time_text_embed.{part}_embedder.linear_{i}" for part in ("timestep", "text", "guidance") for i in (1, 2)),
}  # fmt: skip
SD3_BLOCK = {  # comfy/utils.py, mmdit_to_diffusers
    *(f"attn.{name}" for name in ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj", "to_out.0")),
    *("attn.to_add_out", "norm1.linear", "norm1_context.linear"),
    *(f"{part}.net.{inner}" for part in ("ff", "ff_context") for inner in ("0.proj", "2")),
}
SD3_OUTSIDE = (OUTSIDE - {"x_embedder"}) | {"pos_embed.proj"}


def whole(width: int, rank: int = 2) -> Adapter:
    """Random adapters of every layer of one block of each kind."""
    generator, layers = torch.Generator().manual_seed(0), {}
    for block, (_, known) in BLOCKS.items():
        for inner, (_, _, rows) in known.items():
            down = torch.randn(rank, width * INPUTS.get(inner, 1), generator=generator)
            layers[f"{block}.0.{inner}"] = (down, torch.randn(width * rows, rank, generator=generator))
    return Adapter(layers, rank)


def test_rows_are_where_comfy_looks_for_them() -> None:
    """Of each fused layer, the rows of a part change by what the part's own adapter adds, and no others exist."""
    adapter, rows = whole(8), dict[str, int]()
    found = kohya_tensors(adapter, "flux", {})
    for name, (down, up) in adapter.layers.items():
        block, _, inner = name.split(".", 2)
        kind, known = BLOCKS[block]
        theirs, first, size = known[inner]
        key = f"lora_unet_{kind}_0_{theirs.replace('.', '_')}"
        change = found[f"{key}.lora_up.weight"] @ found[f"{key}.lora_down.weight"]
        torch.testing.assert_close(change[8 * first : 8 * (first + size)], up @ down)
        assert float(found[f"{key}.alpha"]) == len(found[f"{key}.lora_down.weight"])
        rows[key] = rows.get(key, 0) + 8 * size
    assert {name.split(".")[0] for name in found} == set(rows)
    assert {key: len(found[f"{key}.lora_up.weight"]) for key in rows} == rows


def test_stock_diffusers_finds_every_layer_at_the_published_width() -> None:
    adapter = whole(3072)
    read = FluxPipeline.lora_state_dict(kohya_tensors(adapter, "flux", SINGLE))
    ours = adapter.tensors("transformer")
    assert set(read) == set(ours)
    assert all(read[name].equal(tensor) for name, tensor in ours.items())


def test_layers_that_were_not_trained_are_zero() -> None:
    """An adapter of the attention alone, as most are: the fused layer of a single block holds more than that."""
    some = {name: pair for name, pair in whole(3072).layers.items() if "attn.to_q" in name or "attn.to_v" in name}
    padded = kohya_whole(Adapter(some, 2), "flux", SINGLE)
    absent = {"transformer_blocks.0.attn.to_k", "single_transformer_blocks.0.attn.to_k"}
    assert set(padded.layers) == set(some) | absent | {"single_transformer_blocks.0.proj_mlp"}
    read = FluxPipeline.lora_state_dict(kohya_tensors(padded, "flux", SINGLE))
    changes = {
        name: read[f"transformer.{name}.lora_B.weight"] @ read[f"transformer.{name}.lora_A.weight"] for name in absent
    }
    assert not any(change.any() for change in changes.values())
    assert read["transformer.single_transformer_blocks.0.proj_mlp.lora_B.weight"].shape == (4 * 3072, 2)
    assert all(read[f"transformer.{name}.lora_B.weight"].equal(up) for name, (_, up) in some.items())


@pytest.mark.parametrize("targets", [TARGETS, (r"\.transformer_blocks.0.attn.(to_q|add_v)",)], ids=["all", "some"])
def test_stock_pipeline_draws_from_it_what_the_student_drew(
    pipe: Get, tmp_path: Path, targets: tuple[str, ...]
) -> None:
    source = pipe("flux")
    student = Student.of(few_step(source, adapted(source, Lora(4, alpha=8.0, targets=targets))), source)
    export(student, tmp_path / "x", wanted("kohya"), None)
    few = json.loads((tmp_path / "x" / "few_step.json").read_text())
    found = checked(tmp_path / "x")
    assert found.worst < 2e-5
    assert found.modules == few["lora"]["modules"]


def test_adapter_outside_the_blocks_is_refused(pipe: Get, tmp_path: Path) -> None:
    """Stock diffusers converts such keys, and then drops them without a word."""
    source = pipe("flux")
    student = Student.of(few_step(source, adapted(source)), source)
    with pytest.raises(fs.WeightsError, match=r"drops 10 of the adapter's layers: .*context_embedder.* --form lora"):
        export(student, tmp_path / "x", wanted("kohya"))
    read = FluxPipeline.lora_state_dict(
        {"lora_unet_img_in.lora_down.weight": torch.ones(2, 4), "lora_unet_img_in.lora_up.weight": torch.ones(8, 2)}
    )
    assert not any(name.startswith("transformer.") for name in read)


def test_single_blocks_of_another_width_are_refused(pipe: Get, tmp_path: Path) -> None:
    source = pipe("flux")
    lora = Lora(4, targets=("transformer_blocks",))
    student = Student.of(few_step(source, adapted(source, lora)), source)
    with pytest.raises(fs.WeightsError, match=r"width of 3072 only; this pipeline has 16\. .* --form lora"):
        export(student, tmp_path / "x", wanted("kohya"))


@pytest.mark.parametrize(("name", "blocks", "outside"), [
    ("flux", {f"{block}.{inner}" for block, (_, known) in BLOCKS.items() for inner in known}, OUTSIDE),
    ("sd3", {f"transformer_blocks.{inner}" for inner in SD3_BLOCK}, SD3_OUTSIDE),
])  # fmt: skip
def test_comfy_has_a_name_for_every_layer_of_the_form_lora(
    exported: Callable[..., Path], name: str, blocks: set[str], outside: set[str]
) -> None:
    """It takes ``transformer.`` and diffusers' name of a layer, A and B."""
    file = load_file(exported(name, "lora", 0.0) / "pytorch_lora_weights.safetensors")
    layers = {re.sub(r"^transformer\.|\.lora_[AB]\.weight$", "", key) for key in file}
    assert {re.sub(r"_blocks\.\d+\.", "_blocks.", layer) for layer in layers} - blocks - outside == set()
    assert {"norm_out.linear", "proj_out"} <= layers
