"""``fewstep export`` and ``fewstep verify``, on a finished run, with a process of its own for the proof."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from single import written
from students import adapted, checked, few_step
from tiny import random_lora
from typer.testing import CliRunner

import fewstep as fs
from fewstep.cli import app
from fewstep.data import Shapes
from fewstep.evaluate import features
from fewstep.files import write_whole
from fewstep.interop import Encoded, Pipe
from fewstep.jobs.origin import Origin, captions_for, keep_origin
from fewstep.jobs.pipelines import Asked, opened, started, starting
from fewstep.networks import LORA, LoraFile, build_network, digest_of, own_state
from fewstep.networks.lora import merged
from fewstep.sharing import shared_names
from fewstep.times import Trailing

RUNNER = CliRunner()
BRIEF = ("steps=4", "batch=4", "looks=1", "judged=16", "learners.student.lora.rank=2")


@pytest.fixture(scope="module")
def run(pipe: Callable[[str], Pipe], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a learner with an adapter."""
    source, folder = pipe("sd3"), tmp_path_factory.mktemp("run")
    base, net = source.model().view.net, adapted(source)
    fs.save_model(few_step(source, merged(net), 1.0), folder)
    file = LoraFile(own_state(net, shared_names(net, base)), digest_of(base), 4, 8.0)
    write_whole(folder / LORA, file.content())
    return folder


def typed(*words: object) -> tuple[int, str]:
    found = RUNNER.invoke(app, [str(word) for word in words])
    return found.exit_code, found.output


def test_run_is_exported_and_proven_by_a_process_of_its_own(run: Path, tmp_path: Path) -> None:
    code, said = typed("export", run, tmp_path / "x", "--prompt", "a red disc", "--steps", 4, "--steps", 1)
    assert code == 0, said
    few = json.loads((tmp_path / "x" / "few_step.json").read_text())
    assert few["num_steps"] == [4, 1]
    assert few["checks"]["reload_max_abs_diff"] < 2e-5
    assert few["checks"]["modules"] == few["lora"]["modules"] == 33
    assert "33 layers of rank 4" in said


@pytest.mark.slow
def test_proof_is_repeated_and_other_bases_refused(run: Path, pipe: Callable[[str], Pipe], tmp_path: Path) -> None:
    assert typed("export", run, tmp_path / "x", "--form", "folder", "--no-verify")[0] == 0
    code, said = typed("verify", tmp_path / "x")
    assert (code, "draws the student's pictures" in said) == (0, True), said
    assert typed("export", run, tmp_path / "y", "--no-verify")[0] == 0
    code, said = typed("verify", tmp_path / "y", "--base", pipe("sd").place)
    assert (code, "cannot run" in said) == (1, True), said


def test_proof_draws_what_the_data_say(run: Path, tmp_path: Path) -> None:
    """Where the run knows its data and these have captions; else there are prompts for any pipeline."""
    model = fs.load_model(run)
    assert captions_for(model, run, 2) == ()
    for data, said in (("shapes", tuple(Shapes(32).captions_of(range(2)))), ("digits", ()), ("/no/where", ())):
        place = tmp_path / Path(data).name
        keep_origin(place, Origin("fewstep distill", data))
        assert captions_for(model, place, 2) == said
    kept = shutil.copytree(run, tmp_path / "run")
    shutil.copy(tmp_path / "shapes" / "command.json", kept)
    assert typed("export", kept, tmp_path / "x", "--no-verify")[0] == 0
    assert f"prompt='{captions_for(model, kept, 1)[0]}'" in (tmp_path / "x" / "README.md").read_text()


def test_unproven_export_says_so(run: Path, tmp_path: Path) -> None:
    code, said = typed("export", run, tmp_path / "x", "--no-verify", "--prompt", "two rings")
    assert code == 0, said
    assert "not asked for" in said
    assert f"fewstep verify {tmp_path / 'x'}" in said
    assert "**Not checked**" in (tmp_path / "x" / "README.md").read_text()
    assert json.loads((tmp_path / "x" / "few_step.json").read_text())["checks"] == {}


def test_run_that_is_no_pipeline_student_is_refused(tmp_path: Path) -> None:
    words = {"mlp": {"width": 8, "depth": 1}}
    net = build_network(words)
    fs.save_model(fs.Model(fs.Denoiser(net, fs.EDM()), fs.FewStep(Trailing(80.0)), (2,), (), words), tmp_path / "run")
    code, said = typed("export", tmp_path / "run", tmp_path / "x")
    assert code == 1
    assert "no student of a diffusers pipeline" in " ".join(said.split())
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_student_of_a_checkpoint_in_one_file_is_proven(pipe: Callable[[str], Pipe], tmp_path: Path) -> None:
    file = written(pipe("sd").pipeline, tmp_path / "base.safetensors")
    (tmp_path / "prompts.txt").write_text("".join(f"{word} disc\n" for word in ("a red", "a blue", "two") * 6))
    brief = [word for setting in BRIEF for word in ("--set", setting)] + ["--size", 16, "--guidance", 2, "--quiet"]
    words = ["distill", file, "--data", tmp_path / "prompts.txt", "--recipe", "lcm-lora", "--out", tmp_path / "run"]
    code, said = typed(*words, *brief, "--config", pipe("sd").place)
    assert code == 0, said
    assert f"written into {tmp_path / 'run' / 'teacher'}" in said.replace("\n", " ")
    code, said = typed("export", tmp_path / "run", tmp_path / "x", "--prompt", "a red disc")
    assert code == 0, said
    assert json.loads((tmp_path / "x" / "few_step.json").read_text())["base_model"] == str(tmp_path / "run" / "teacher")


@pytest.mark.slow
def test_student_that_began_with_a_published_adapter_is_exported_on_it(
    pipe: Callable[[str], Pipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base is put together again: the pipeline, a style, the published adapter in its weights, and the student's
    own."""
    monkeypatch.setattr(features, "STEPS", 5)  # of the network that judges
    base = pipe("sd").place
    style, lora = random_lora(Path(base), tmp_path / "style"), random_lora(Path(base), tmp_path / "start")
    asked = Asked(base, 32, (style,), 2.0, lora, "dmd2")
    (source, teacher), start = opened(asked), started(asked)
    assert start is not None
    brief = ("steps=2", "batch=4", "looks=1", "judged=8", "learners.student.optimiser.adam.lr=0.01")
    settings = (*starting(start), "learners.student.lora.rank=2", *brief)
    data = Encoded(Shapes(32, count=12), source, tmp_path)
    run = fs.Options(tmp_path / "run", settings=settings, show=False, cache=tmp_path)
    fs.distill(replace(teacher, sampler=replace(teacher.sampler, steps=2)), data, run, "lcm-lora", start)
    code, said = typed("export", tmp_path / "run", tmp_path / "x", "--no-verify", "--prompt", "a red disc")
    assert code == 0, said
    few = json.loads((tmp_path / "x" / "few_step.json").read_text())
    assert (few["base_style"], few["lora"]["r"]) == ([str(style), str(lora)], 2)
    assert checked(tmp_path / "x").worst < 2e-5
    (tmp_path / "x" / "few_step.json").write_text(json.dumps(few | {"base_style": []}))
    with pytest.raises(fs.WeightsError, match="On other weights it draws something else"):
        checked(tmp_path / "x")
