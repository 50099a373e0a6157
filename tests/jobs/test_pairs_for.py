import json
import re
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor

import fewstep as fs
from fewstep.data import PairStore, write_pairs
from fewstep.denoiser import Denoiser
from fewstep.errors import DataError, RecipeError
from fewstep.guidance import CFG
from fewstep.jobs import pairs
from fewstep.jobs.pairs import pairs_for
from fewstep.networks import MLP
from fewstep.process import EDM, Linear, Process
from fewstep.recipes import PairsSpec, load_recipe
from fewstep.solvers import DDIM, DPMSolver, Euler, Heun, Solver, Stochastic
from fewstep.times import Karras, Trailing

LABELS = torch.tensor([2, 0, 1, 1, 2])
SPEC = PairsSpec(Karras(0.002, 80.0), count=20, solver=Heun(), steps=4, shard=8, guidance=(CFG(2.0),), path=True)


def teacher(process: Process | None = None, width: int = 16) -> fs.Model:
    torch.manual_seed(1)
    view = Denoiser(MLP(2, classes=3, width=width, depth=1), process or EDM(sigma_data=1.0))
    return fs.Model(view, load_recipe("edm").sampler, (2,), ("a", "b", "c"))


def made(folder: Path, spec: PairsSpec = SPEC, model: fs.Model | None = None) -> PairStore:
    return pairs_for(spec, model or teacher(), LABELS, folder, show=False)


def everything(store: PairStore) -> fs.Batch:
    return store.batch(range(len(store)))


def times_of(spec: PairsSpec) -> Tensor:
    return spec.schedule.steps(spec.steps)


@pytest.mark.parametrize(
    ("process", "schedule"), [(EDM(sigma_data=1.0), Karras(0.002, 80.0)), (Linear(), Trailing(1.0))]
)
@pytest.mark.parametrize("solver", [DDIM(), Euler(), Heun()])
def test_recording_changes_no_bit_of_the_ends(tmp_path, solver: Solver, process: Process, schedule):
    spec, model = replace(SPEC, solver=solver, schedule=schedule), teacher(process)
    recorded = everything(made(tmp_path / "recorded", spec, model))
    plain = everything(made(tmp_path / "plain", replace(spec, path=False), model))
    assert torch.equal(recorded.x0, plain.x0)
    assert torch.equal(recorded.z, plain.z)
    assert torch.equal(recorded.c, plain.c)
    assert (recorded.path.shape, plain.path) == ((20, 4, 2), None)


def test_first_state_is_the_noise_at_the_noisiest_time(tmp_path):
    batch = everything(made(tmp_path))
    assert torch.equal(batch.path[:, 0], batch.z * torch.tensor(80.0))


@pytest.mark.parametrize("solver", [DDIM(), Euler(), Heun()])
def test_states_are_where_the_teacher_passes(tmp_path, solver: Solver):
    spec, model = replace(SPEC, solver=solver), teacher()
    batch, times = made(tmp_path, spec, model).batch([17, 2, 9]), times_of(spec)
    x, guided = batch.z * 80.0, CFG(2.0)(model.view)
    with torch.no_grad():
        for k in range(1, spec.steps):
            torch.testing.assert_close(
                batch.path[:, k], solver(guided, x, times[: k + 1], batch.c), rtol=1e-5, atol=1e-5
            )
        torch.testing.assert_close(batch.x0, solver(guided, x, times, batch.c), rtol=1e-5, atol=1e-5)


def test_the_store_knows_the_exact_times(tmp_path):
    assert made(tmp_path).times == tuple(times_of(SPEC)[:-1].tolist())


def test_more_pairs_than_are_solved_at_once_keep_their_paths(tmp_path):
    batch = everything(made(tmp_path, replace(SPEC, count=600, shard=600, solver=DDIM())))
    few = everything(made(tmp_path / "few", replace(SPEC, count=20, solver=DDIM())))
    torch.testing.assert_close(batch.path[:20], few.path, rtol=1e-5, atol=1e-5)
    assert len(batch.path) == 600


def test_as_many_are_solved_together_as_the_teacher_samples_at_once(tmp_path):
    sizes, model = list[int](), replace(teacher(), at_once=3)
    model.view.net.register_forward_pre_hook(lambda net, args: sizes.append(len(args[0])))
    lots, whole = everything(made(tmp_path / "lots", model=model)), everything(made(tmp_path / "whole"))
    assert set(sizes) == {1, 2, 3}  # shards of 8 and a last one of 4
    assert lots.z.equal(whole.z)
    assert lots.c.equal(whole.c)
    torch.testing.assert_close((lots.x0, lots.path), (whole.x0, whole.path), rtol=1e-5, atol=1e-5)


def test_one_step_keeps_its_beginning(tmp_path):
    batch = everything(made(tmp_path, replace(SPEC, steps=1)))
    assert batch.path.shape == (20, 1, 2)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a store, without the seconds that it took to make."""
    return {file.name: re.sub(rb'"seconds": [\d.]+', b"", file.read_bytes()) for file in folder.iterdir()}


@pytest.mark.parametrize("files", [2, 3])
def test_stop_and_continue_equals_uninterrupted(tmp_path, monkeypatch, files: int):
    whole = made(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(pairs, "write_pairs", lambda *given: islice(write_pairs(*given), files))
        with pytest.raises(DataError, match="unfinished"):
            made(tmp_path / "parts")
    assert made(tmp_path / "parts").fingerprint() == whole.fingerprint()
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


@pytest.mark.parametrize("solver", [DPMSolver(), Stochastic(1.0), Stochastic(0.0)])
def test_solvers_that_cannot_stop_between_are_refused(solver: Solver):
    with pytest.raises(
        RecipeError, match=r"a path was asked .*(DPMSolver|Stochastic).*accepted are ddim, euler and heun"
    ):
        replace(SPEC, solver=solver)
    assert replace(SPEC, solver=solver, path=False).solver == solver


def test_the_refusal_says_where_in_the_recipe():
    with pytest.raises(RecipeError, match=r"pairs \(kd.yaml:\d+\): a path was asked for with the solver DPMSolver"):
        load_recipe("kd", ["pairs.path=true", "pairs.solver={dpm_solver: {}}"])
    assert load_recipe("kd", ["pairs.path=true"]).pairs.path


@pytest.mark.parametrize("other", [{"path": False}, {"steps": 5}, {"schedule": Karras(0.002, 80.0, rho=7.000001)}])
def test_a_folder_of_other_paths_is_refused(tmp_path, other: dict[str, object]):
    made(tmp_path)
    with pytest.raises(DataError, match=r"path is '4 states at 80\.0, .*give another folder, or delete this one"):
        made(tmp_path, replace(SPEC, **other))


def test_a_folder_without_paths_is_refused_when_they_are_asked_for(tmp_path):
    made(tmp_path, replace(SPEC, path=False))
    with pytest.raises(DataError, match=r"path is 'not recorded', asked for is '4 states at 80\.0"):
        made(tmp_path)


def test_pairs_of_an_earlier_version_are_taken_as_they_are(tmp_path):
    store = made(tmp_path, replace(SPEC, path=False))
    index = json.loads((tmp_path / "index.json").read_text())
    old = {key: value for key, value in index.items() if key not in ("times", "states")} | {"format_version": 1}
    (tmp_path / "index.json").write_text(json.dumps(old))
    assert made(tmp_path, replace(SPEC, path=False)).fingerprint() == store.fingerprint()
    assert json.loads((tmp_path / "index.json").read_text()) == old


def test_progress_counts_the_pairs(tmp_path, monkeypatch):
    seen: list[tuple[int, int]] = []

    def watched(*given):
        for step in write_pairs(*given):
            seen.append(step)
            yield step

    monkeypatch.setattr(pairs, "write_pairs", watched)
    made(tmp_path)
    assert seen == [(0, 20), (8, 20), (16, 20), (20, 20)]
