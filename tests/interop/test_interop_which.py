"""A pipeline is opened in the variant and the revision that were asked for, and a student opens the same again."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import diffusers
import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file
from tiny import built, random_lora
from typer.testing import CliRunner

import fewstep as fs
from fewstep import WeightsError
from fewstep.cli import app, measuring, planning, training
from fewstep.cli.training import _chosen
from fewstep.interop import open_pipe
from fewstep.interop.which import Which
from fewstep.jobs import models
from fewstep.jobs.compare import ROWS, Comparison
from fewstep.jobs.models import model_at, models_at, pipe_of
from fewstep.jobs.pipelines import KEPT, Asked, in_folder
from fewstep.store import load_model, save_model

UNET = "unet/diffusion_pytorch_model"


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline whose weights are there in half precision only."""
    return saved(tmp_path_factory.mktemp("half") / "sd")


def saved(place: Path, name: str = "sd", **more: object) -> Path:
    pipeline = built(name)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.half()
    pipeline.save_pretrained(place, variant="fp16", **more)
    return place


def test_folder_of_one_variant_is_opened_in_it(half: Path) -> None:
    """In float32, all of it: readers leave text encoders in half precision, beside a network that is not."""
    pipe, file = open_pipe(half), load_file(half / f"{UNET}.fp16.safetensors")
    assert pipe.which == Which("fp16")
    assert all(value.equal(file[name].float()) for name, value in pipe.backbone.state_dict().items())
    parts = [part for part in pipe.pipeline.components.values() if isinstance(part, torch.nn.Module)]
    assert {part.dtype for part in parts} == {torch.float32}
    assert _chosen(Asked(str(half)), pipe)["variant"].startswith("fp16")
    assert _chosen(Asked(str(half), variant="fp16"), pipe) == {}


def test_sharded_variant_is_found(tmp_path: Path) -> None:
    assert open_pipe(saved(tmp_path / "sd", max_shard_size="40KB")).which == Which("fp16")


@pytest.fixture
def both(half: Path, folder: Path, tmp_path: Path) -> Path:
    """A folder with weights in two precisions, of one seed: they differ by rounding alone."""
    shutil.copytree(folder, tmp_path / "both")
    return Path(shutil.copytree(half, tmp_path / "both", dirs_exist_ok=True))


def test_variant_is_opened_when_it_is_asked_for(both: Path) -> None:
    plain, rounded = open_pipe(both), open_pipe(both, variant="fp16")
    assert (plain.which, rounded.which) == (Which(), Which("fp16"))
    pairs = list(zip(plain.backbone.parameters(), rounded.backbone.parameters(), strict=True))
    assert not all(a.equal(b) for a, b in pairs)
    assert all(a.half().float().equal(b) for a, b in pairs)


def test_student_reopens_the_same_variant(both: Path) -> None:
    teacher = open_pipe(both, variant="fp16").model()
    assert {key: teacher.facts[key] for key in KEPT if key in teacher.facts} == teacher.facts
    again = pipe_of(teacher)
    assert again.which == Which("fp16")
    assert all(
        a.equal(b) for a, b in zip(again.model().view.net.parameters(), teacher.view.net.parameters(), strict=True)
    )


def test_component_without_the_variant_is_opened_without(half: Path, folder: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(half, tmp_path / "sd"))
    shutil.rmtree(place / "vae")
    shutil.copytree(folder / "vae", place / "vae")
    assert open_pipe(place).which == Which("fp16")


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_controlnet_is_read_in_its_variant(tmp_path: Path, variant: str | None) -> None:
    """By a run folder, which names the pipeline alone; also where the ControlNet has no such variant."""
    place = saved(tmp_path / "control", "control")
    if variant is None:
        shutil.rmtree(place / "controlnet")
        built("control").controlnet.save_pretrained(place / "controlnet")
    teacher = open_pipe(place).model()
    save_model(teacher, tmp_path / "run")
    again, given = load_model(tmp_path / "run").view.net.control.net, teacher.view.net.control.net
    assert all(a.equal(b) for a, b in zip(again.parameters(), given.parameters(), strict=True))


def renamed(place: Path, part: str, variant: str) -> None:
    for file in (place / part).glob("*.fp16.safetensors"):
        file.rename(file.with_name(file.name.replace("fp16", variant)))


def test_several_variants_and_nothing_else_are_refused(half: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(half, tmp_path / "sd"))
    renamed(place, "unet", "bf16")
    with pytest.raises(WeightsError, match=r"in the variants bf16, fp16, and not all of them without.*--variant bf16"):
        open_pipe(place)
    renamed(place, "vae", "bf16")
    renamed(place, "text_encoder", "bf16")
    assert Which.at(str(place)) == Which("bf16")


def test_variant_that_is_not_there_is_refused(half: Path, folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"no weights in the variant 'fp61'; did you mean 'fp16'"):
        open_pipe(half, variant="fp61")
    with pytest.raises(WeightsError, match=r"'fp16'; it holds no variants. Leave it out"):
        open_pipe(folder, variant="fp16")


def test_variant_and_revision_of_what_has_none_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"The revision 'v1' was given for .*, which lies here"):
        open_pipe(folder, revision="v1")
    (tmp_path / "x.safetensors").touch()
    with pytest.raises(WeightsError, match=r"The variant 'fp16' was given for .*x.safetensors, one file"):
        in_folder(Asked(str(tmp_path / "x.safetensors"), variant="fp16"), tmp_path / "teacher")
    assert not (tmp_path / "teacher").exists()


def test_hub_is_asked_for_the_revision_and_the_variant(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything else the index, of that revision."""
    asked: list[dict[str, object]] = []
    stock = diffusers.DiffusionPipeline.from_pretrained

    def fetch(place: str, name: str, **told: object) -> str:
        asked.append(told)
        return str(folder / name)

    def load(place: str, **told: object) -> object:
        asked.append({name: told.pop(name) for name in ("revision", "variant") if name in told})
        return stock(folder, **told)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", load)
    teacher = open_pipe("owner/name", variant="fp16", revision="v1").model()
    assert asked == [{"revision": "v1"}, {"revision": "v1", "variant": "fp16"}]
    pipe_of(replace(teacher, facts=teacher.facts))
    assert asked[2:] == asked[:2]


@pytest.mark.parametrize("command", ["distill", "plan"])
def test_options_reach_what_is_opened(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Asked] = []
    monkeypatch.setattr(training, "distill", lambda order, asked, *more: told.append(asked))
    monkeypatch.setattr(planning, "print_plan", lambda order, asked, *more: told.append(asked))
    words = ["--variant", "fp16", "--revision", "v1", "--style", "a", "--style", "b:0.5", "--config", "c"]
    out = ["--out", str(tmp_path)] if command == "distill" else []
    assert CliRunner().invoke(app, [command, "owner/name", *words, *out]).exit_code == 0
    style = (Path("a"), Path("b:0.5"))
    assert told == [Asked("owner/name", style=style, config=Path("c"), variant="fp16", revision="v1")]


@pytest.mark.parametrize("command", ["sample", "evaluate"])
def test_what_draws_and_judges_opens_the_files_that_are_meant(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Which] = []

    def stop(place: object, variant: str | None = None, revision: str | None = None) -> None:
        asked.append(Which(variant, revision))
        raise WeightsError("seen")

    monkeypatch.setattr(models, "open_pipe", stop)
    assert CliRunner().invoke(app, [command, str(folder), "--variant", "b", "--revision", "v1"]).exit_code == 1
    assert asked == [Which("b", "v1")]


def test_rows_of_what_is_no_folder_are_written_where_one_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = SimpleNamespace(sampler=SimpleNamespace(made_for=(1,)))
    told = {"models_at": {"name": model}, "accelerated": model, "data_for": None, "judge_for": None, "measure_all": []}
    for name, result in told.items():
        monkeypatch.setattr(measuring, name, lambda *asked, result=result: result)
    written: list[Path] = []
    monkeypatch.setattr(measuring, "write_rows", lambda path, rows: written.append(path))
    monkeypatch.setattr(measuring, "_show", lambda rows, path: None)
    for place in (Path("owner/name"), tmp_path / "base.safetensors", tmp_path):
        measuring.evaluate_model(place, None, (), Comparison(), None)
    assert written == [Path("name.evaluation.json"), Path("base.safetensors.evaluation.json"), tmp_path / ROWS]


def test_variants_of_what_is_no_pipeline_are_refused(tmp_path: Path) -> None:
    said = "the variant 'fp16' and the revision 'v1' was asked for, but"
    with pytest.raises(fs.RecipeError, match=f"{said} {tmp_path} is no diffusers pipeline"):
        model_at(tmp_path, None, Which("fp16", "v1"))
    with pytest.raises(fs.RecipeError, match="is a diffusers pipeline") as refused:
        models_at({"a": tmp_path / "a", "b": tmp_path / "b"}, None, Which("fp16"))
    assert f"none of {tmp_path / 'a'}, {tmp_path / 'b'}" in str(refused.value)


def test_models_of_ours_take_none_of_them() -> None:
    asked = Asked("run", style=(Path("a"),), variant="fp16", revision="v1")
    with pytest.raises(fs.RecipeError, match="--style, --variant, --revision was given for the model in run"):
        training._refuse_for_models(asked)
    training._refuse_for_models(Asked("run"))


# --- several styles


def test_styles_are_merged_one_after_the_other(folder: Path, tmp_path: Path) -> None:
    files = [random_lora(folder, tmp_path / name) for name in "ab"]
    pipe = open_pipe(folder, lora=files)
    plain, first, second, both, again = (
        torch.cat([weight.flatten() for weight in each.backbone.parameters()])
        for each in (open_pipe(folder), *(open_pipe(folder, lora=file) for file in files), pipe, pipe_of(pipe.model()))
    )
    torch.testing.assert_close(both - plain, first + second - 2 * plain, atol=1e-5, rtol=1e-4)
    assert pipe.styles == tuple(map(str, files))
    assert again.equal(both)


def test_run_that_states_one_style_by_its_path_opens(folder: Path, tmp_path: Path) -> None:
    style = random_lora(folder, tmp_path / "style")
    pipe = open_pipe(folder, lora=[style])
    older = replace(pipe.model(), facts={**pipe.facts, "style": str(style)})
    assert pipe_of(older).styles == (str(style),)
    assert model_at(folder).facts.get("style") is None
