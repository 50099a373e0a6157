"""What a student is exported from: its adapter folded, what no reader could hold refused in words."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from students import adapted, changed, few_step, wanted
from torch import nn

import fewstep as fs
from fewstep.export import Adapter, Student, export, outlook, verify
from fewstep.export.kohya import _published, kohya_base, kohya_tensors
from fewstep.guidance import CFG, Guidance, Rescale
from fewstep.interop import Bridge, Pipe
from fewstep.networks import Adapted, LoraFile, SecondTime, digest_of, own_state
from fewstep.networks.lora import low_rank, merged
from fewstep.predict import EDM
from fewstep.sharing import shared_names

Get = Callable[[str], Pipe]


@pytest.fixture(scope="module")
def net(pipe: Get) -> nn.Module:
    """The U-Net of Stable Diffusion with adapters; do not change it."""
    return adapted(pipe("sd"))


def file_of(pipe: Pipe, net: nn.Module, **more: torch.Tensor) -> LoraFile:
    """What a finished run writes."""
    base = pipe.model().view.net
    return LoraFile(own_state(net, shared_names(net, base)) | more, digest_of(base), 4, 8.0)


def test_alpha_is_folded_into_b(pipe: Get, net: nn.Module) -> None:
    source = pipe("sd")
    adapter = Student.of(few_step(source, net), source).adapter
    assert adapter is not None
    weights, plain = dict(merged(net).backbone.named_parameters()), dict(source.backbone.named_parameters())
    for name, (down, up) in adapter.layers.items():
        torch.testing.assert_close(weights[f"{name}.weight"] - plain[f"{name}.weight"], low_rank(down, up, 1.0))


def test_finished_run_has_the_same_adapter(pipe: Get) -> None:
    source = pipe("sd3")
    net = adapted(source)
    ours = Student.of(few_step(source, net), source).adapter
    theirs = Student.of(few_step(source, merged(net)), source, file_of(source, net)).adapter
    assert ours is not None
    assert theirs is not None
    assert list(ours.layers) == list(theirs.layers)
    assert all(a.equal(b) for name in ours.layers for a, b in zip(ours.layers[name], theirs.layers[name], strict=True))


def test_keys_and_metadata_are_of_one_style(exported: Callable[..., Path]) -> None:
    with safe_open(exported("sd3") / "pytorch_lora_weights.safetensors", "pt") as opened:
        names, words = list(opened.keys()), json.loads(opened.metadata()["lora_adapter_metadata"])
    assert all(
        name.startswith("transformer.") and name.endswith((".lora_A.weight", ".lora_B.weight")) for name in names
    )
    assert (words["transformer.r"], words["transformer.lora_alpha"]) == (4, 4)
    assert len(words["transformer.target_modules"]) == len(names) // 2


# --- kohya's names


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        (
            "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
            "input_blocks.4.1.transformer_blocks.0.attn1.to_q",
        ),
        ("down_blocks.0.resnets.1.conv1", "input_blocks.2.0.in_layers.2"),
        ("down_blocks.0.downsamplers.0.conv", "input_blocks.3.0.op"),
        ("mid_block.attentions.0.proj_in", "middle_block.1.proj_in"),
        ("mid_block.resnets.1.time_emb_proj", "middle_block.2.emb_layers.1"),
        ("up_blocks.0.attentions.2.transformer_blocks.9.ff.net.2", "output_blocks.2.1.transformer_blocks.9.ff.net.2"),
        ("up_blocks.1.upsamplers.0.conv", "output_blocks.5.2.conv"),
        ("up_blocks.2.resnets.0.conv_shortcut", "output_blocks.6.0.skip_connection"),
        ("add_embedding.linear_2", "label_emb.0.2"),
        ("conv_out", "out.2"),
    ],
)
def test_layers_have_the_published_names(name: str, theirs: str) -> None:
    """Of Stable Diffusion XL: two layers per block, none with attention in the first."""
    ups = ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"]
    assert _published(name, 2, {"up_block_types": ups}) == theirs


def test_kohya_states_alpha_as_a_scalar() -> None:
    layer = (torch.ones(4, 3), torch.ones(2, 4))
    found = kohya_tensors(Adapter({"mid_block.attentions.0.proj_in": layer}, 4), "sd", {"layers_per_block": 2})
    key = "lora_unet_mid_block_attentions_0_proj_in"
    assert set(found) == {f"{key}.lora_down.weight", f"{key}.lora_up.weight", f"{key}.alpha"}
    assert (found[f"{key}.alpha"].shape, float(found[f"{key}.alpha"])) == ((), 4.0)


@pytest.mark.parametrize(
    ("family", "width", "version", "second"),
    [("sd", 768, "sd_v1", "False"), ("sd", 1024, "sd_v2", "True"), ("sdxl", 2048, "sdxl_base_v1-0", "False")],
)
def test_kohya_names_the_base(family: str, width: int, version: str, second: str) -> None:
    """A1111 hides a file from all bases but these two keys', and takes a file without them for one of version 1."""
    found = kohya_base(family, {"cross_attention_dim": width})
    assert found == {"ss_base_model_version": version, "ss_v2": second}


def test_base_is_written_beside_kohya_tensors(exported: Callable[..., Path]) -> None:
    with safe_open(exported("sdxl", "kohya") / "few_step_lora.safetensors", "pt") as opened:
        assert opened.metadata()["ss_base_model_version"] == "sdxl_base_v1-0"


# --- refusals


def test_model_of_no_pipeline_is_refused(pipe: Get) -> None:
    with pytest.raises(fs.WeightsError, match=r"no student of a diffusers pipeline: its network is a Linear"):
        Student.of(few_step(pipe("sd"), nn.Linear(2, 2)), pipe("sd"))


def test_teacher_is_refused(pipe: Get) -> None:
    with pytest.raises(fs.WeightsError, match=r"sampled by ManyStep, so it is a teacher"):
        Student.of(pipe("sd").model(), pipe("sd"))


def test_other_family_is_refused(pipe: Get, net: nn.Module) -> None:
    with pytest.raises(fs.WeightsError, match=r"one of the family sd for .* is one of sd3"):
        Student.of(few_step(pipe("sd"), net), pipe("sd3"))


def test_adapter_of_another_base_is_refused(pipe: Get, net: nn.Module) -> None:
    source = pipe("sd")
    file = replace(file_of(source, net), base="0" * 16)
    with pytest.raises(fs.WeightsError, match="is an adapter on a base with the weights 0000000000000000"):
        Student.of(few_step(source, merged(net)), source, file)


def test_second_time_is_refused(pipe: Get, net: nn.Module) -> None:
    model = few_step(pipe("sd"), SecondTime(net, 4))
    with pytest.raises(fs.WeightsError, match=r"told the time that it jumps to .* run folder.* such as lcm-lora"):
        Student.of(replace(model, view=replace(model.view, second_time=True)), pipe("sd"))


def test_adapter_beside_the_network_is_refused(pipe: Get, net: nn.Module) -> None:
    taps = {name: 8 for name in net.blocks if name.endswith("down_blocks.0.resnets.0")}
    model = few_step(pipe("sd"), Adapted(net, taps, condition=pipe("sd").model().condition))
    with pytest.raises(
        fs.WeightsError, match=r"own inside a Adapted, .* no form of an export holds it.* such as lcm-lora"
    ):
        Student.of(model, pipe("sd"))


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ((Rescale(0.7),), "sampled under Rescale"),
        ((CFG(1.0),), r"CFG\(1.0\); stock pipelines guide with scales above 1"),
    ],
)
def test_guidance_that_stock_has_not_is_refused(
    pipe: Get, net: nn.Module, rules: tuple[Guidance, ...], words: str
) -> None:
    model = few_step(pipe("sd"), net)
    with pytest.raises(fs.WeightsError, match=words):
        Student.of(replace(model, sampler=replace(model.sampler, guidance=rules)), pipe("sd"))


def test_scale_that_nobody_tells_is_refused(pipe: Get) -> None:
    source = pipe("sd")
    net = Bridge("sd", source.backbone.config, source.packing.shapes, scale=True)
    with pytest.raises(fs.WeightsError, match="its sampler tells it none"):
        Student.of(few_step(source, net), source)


def test_more_than_an_adapter_is_no_lora(pipe: Get, net: nn.Module) -> None:
    source = pipe("sd")
    with pytest.raises(fs.WeightsError, match=r"learned more than its adapter: backbone.own.weight. .*--form folder"):
        Student.of(
            few_step(source, merged(net)), source, file_of(source, net, **{"backbone.own.weight": torch.ones(1)})
        )


@pytest.mark.parametrize("form", ["lora", "kohya"])
def test_whole_weights_are_no_lora(pipe: Get, tmp_path: Path, form: str) -> None:
    student = Student.of(few_step(pipe("sd"), changed(pipe("sd"))), pipe("sd"))
    with pytest.raises(fs.WeightsError, match=f"the form {form} has no place for. Export it with --form folder"):
        export(student, tmp_path / "x", wanted(form))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("name", "form", "words"),
    [
        ("sd3", "kohya", r"reads kohya's names of .* the family sd3.* --form lora"),
        ("dit", "lora", r"DiTPipeline of diffusers reads no LoRA files"),
        ("sd", "lorra", r"no form 'lorra' of an export; did you mean 'lora'"),
    ],
)
def test_form_that_nobody_reads_is_refused(
    student: Callable[[str], Student], tmp_path: Path, name: str, form: str, words: str
) -> None:
    with pytest.raises((fs.WeightsError, fs.RecipeError), match=words):
        export(student(name), tmp_path / "x", wanted(form))


@pytest.mark.parametrize("form", ["lora", "folder"])
def test_student_that_no_form_can_help_is_not_sent_to_another(pipe: Get, tmp_path: Path, form: str) -> None:
    """What no scheduler does is said first, and it is what was announced before the training."""
    model = few_step(pipe("sd"), changed(pipe("sd")))
    model = replace(model, view=replace(model.view, prediction=EDM()))
    words = outlook(model, pipe("sd")).forms[form]
    with pytest.raises(fs.WeightsError, match="predicts EDM, which stock schedulers") as error:
        export(Student.of(model, pipe("sd")), tmp_path / "x", wanted(form))
    assert str(error.value) == words


def test_adapter_on_a_checkpoint_in_one_file_is_refused(student: Callable[[str], Student], tmp_path: Path) -> None:
    file = tmp_path / "base.safetensors"
    file.touch()
    found = student("sd")
    with pytest.raises(fs.WeightsError, match=r"is a checkpoint in one file .*base.safetensors.*as_folder"):
        export(replace(found, pipe=replace(found.pipe, place=str(file))), tmp_path / "x", wanted())


def test_untrained_adapter_is_refused(student: Callable[[str], Student], tmp_path: Path) -> None:
    found = student("sd")
    assert found.adapter is not None
    layers = {name: (down, torch.zeros_like(up)) for name, (down, up) in found.adapter.layers.items()}
    with pytest.raises(fs.WeightsError, match="every B is zero"):
        export(replace(found, adapter=Adapter(layers, 4)), tmp_path / "x", wanted())


def test_export_that_does_not_hold_is_not_there(student: Callable[[str], Student], tmp_path: Path) -> None:
    def check(folder: Path, base: str | None) -> None:
        raise fs.WeightsError(f"{(folder / 'few_step.json').is_file()}")

    with pytest.raises(fs.WeightsError, match="True"):
        export(student("sd"), tmp_path / "x", wanted(), check)
    assert list(tmp_path.iterdir()) == []


def test_export_writes_over_nothing(student: Callable[[str], Student], tmp_path: Path) -> None:
    with pytest.raises(fs.WeightsError, match="is there already"):
        export(student("sd"), tmp_path, wanted())


def test_folder_of_something_else_is_not_verified(tmp_path: Path) -> None:
    with pytest.raises(fs.WeightsError, match=r"is no export of fewstep: it has no few_step.json"):
        verify(tmp_path)
