import json
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fewstep.data import Batch, PairStore, write_pairs
from fewstep.data.pairs import PairsPlan
from fewstep.errors import DataError, RecipeError

TIMES = (80.0, 1 / 3, 0.002)
PLAN = PairsPlan(10, 4, {"teacher": "abc", "solver": "Heun"}, (), TIMES)


def make(start: int, stop: int) -> Batch:
    """Each pair and its path are drawn from its own number."""
    generator, rows = torch.Generator(), []
    for number in range(start, stop):
        rows.append(torch.randn(5, 1, 2, 2, generator=generator.manual_seed(number)))
    drawn = torch.stack(rows)
    return Batch(drawn[:, 0].clone(), None, drawn[:, 1].clone(), drawn[:, 2:].clone())


def without_path(start: int, stop: int) -> Batch:
    return replace(make(start, stop), path=None)


def write(
    folder: Path, plan: PairsPlan = PLAN, maker: Callable[[int, int], Batch] = make, files: int | None = None
) -> PairStore | None:
    """Write the plan, or only its first ``files``, and open it when it is whole."""
    writing = write_pairs(folder, maker, plan)
    list(islice(writing, files))
    writing.close()
    return PairStore.open(folder) if files is None else None


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_paths_come_back_to_the_last_bit(tmp_path):
    batch, same = write(tmp_path).batch([9, 0, 4]), [make(n, n + 1) for n in (9, 0, 4)]
    assert batch.path.dtype == torch.float32
    assert torch.equal(batch.path, torch.cat([one.path for one in same]))
    assert torch.equal(batch.x0, torch.cat([one.x0 for one in same]))


def test_times_of_the_states_come_back_exactly(tmp_path):
    assert write(tmp_path).times == TIMES
    index = json.loads((tmp_path / "index.json").read_text())
    assert (index["states"], tuple(index["times"])) == (3, TIMES)


def test_batches_are_cut_and_moved_with_their_paths():
    batch = make(0, 6)
    assert torch.equal(batch.cut(2, 5).path, make(2, 5).path)
    assert batch.to(torch.device("meta")).path.shape == (6, 3, 1, 2, 2)
    assert without_path(0, 6).cut(2, 5).path is None


@pytest.mark.parametrize("files", [1, 2, 3])
def test_stop_and_continue_equals_uninterrupted(tmp_path, files: int):
    whole = write(tmp_path / "whole")
    write(tmp_path / "parts", files=files)
    parts = write(tmp_path / "parts")
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert parts.fingerprint() == whole.fingerprint()


def test_larger_count_extends_the_paths(tmp_path):
    write(tmp_path / "grown")
    write(tmp_path / "grown", replace(PLAN, count=17))
    write(tmp_path / "whole", replace(PLAN, count=17))
    assert contents(tmp_path / "grown") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ((80.0, 0.5, 0.002), "asked for is '3 states at 80.0, 0.5, 0.002'"),
        ((80.0, 1 / 3 + 1e-16, 0.002), f"asked for is '3 states at 80.0, {1 / 3 + 1e-16!r}, 0.002'"),
        ((80.0,), "asked for is '1 states at 80.0'"),
        ((), "asked for is 'nothing'"),
    ],
)
def test_other_times_are_refused_before_anything_is_made(tmp_path, times: tuple[float, ...], words: str):
    write(tmp_path)
    before = contents(tmp_path)
    message = f"path is '3 states at 80.0, {1 / 3!r}, 0.002', {words}. Continue with the same settings"
    with pytest.raises(DataError, match=re.escape(message)):
        write_pairs(tmp_path, make, replace(PLAN, times=times))
    assert contents(tmp_path) == before


def test_expected_path_is_checked(tmp_path):
    write(tmp_path / "paths")
    write(tmp_path / "ends", replace(PLAN, times=()), without_path)
    assert PairStore.open(tmp_path / "paths", PLAN.facts).times == TIMES
    with pytest.raises(DataError, match=r"path is '3 states at 80\.0, .*', asked for is '1 states at 80\.0'"):
        PairStore.open(tmp_path / "paths", replace(PLAN, times=(80.0,)).facts)
    with pytest.raises(DataError, match=r"path is 'not recorded', asked for is '3 states at 80\.0"):
        PairStore.open(tmp_path / "ends", PLAN.facts)


def test_a_store_with_paths_serves_those_who_need_none(tmp_path):
    write(tmp_path)
    assert len(PairStore.open(tmp_path, replace(PLAN, times=()).facts)) == 10


def test_store_of_an_earlier_version_stays_readable(tmp_path):
    store = write(tmp_path, replace(PLAN, times=()), without_path)
    index = json.loads((tmp_path / "index.json").read_text())
    old = {key: value for key, value in index.items() if key not in ("times", "states")} | {"format_version": 1}
    (tmp_path / "index.json").write_text(json.dumps(old))
    again = PairStore.open(tmp_path, replace(PLAN, times=()).facts)
    assert (again.times, again.batch([1]).path) == ((), None)
    assert again.fingerprint() == store.fingerprint()
    write(tmp_path, replace(PLAN, count=12, times=()), without_path)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (without_path, r"holds .*, but the index promises .*'path': 'float32 \(4, 3, 1, 2, 2\)'"),
        (lambda a, b: replace(make(a, b), path=make(a, b).path[:, :2]), r"'path': 'float32 \(4, 2, 1, 2, 2\)'"),
        (lambda a, b: replace(make(a, b), path=make(a, b).path.double()), r"'path': 'float64 \(4, 3, 1, 2, 2\)'"),
        (lambda a, b: replace(make(a, b), path=make(a, b).path.log()), "4 of 4 pairs .* have a path that is not fini"),
    ],
)
def test_bad_path_is_refused_before_it_is_written(tmp_path, bad: Callable[[int, int], Batch], words: str):
    with pytest.raises(DataError, match=words):
        write(tmp_path, maker=bad)
    assert contents(tmp_path) == {}


def test_path_that_was_not_announced_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"holds .*'path'.*, but the index promises {'x0': .*'z': [^p]*}"):
        write(tmp_path, replace(PLAN, times=()))


def test_path_that_is_damaged_later_is_reported_and_written_anew(tmp_path):
    write(tmp_path)
    before, file = contents(tmp_path), tmp_path / "pairs-00001.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    tensors["path"][2, 1, 0, 0, 0] = torch.nan
    save_file(tensors, file)
    with pytest.raises(DataError, match=r"1 of 4 pairs in .*pairs-00001.* have a path that is not finite"):
        PairStore.open(tmp_path)
    write(tmp_path)
    assert contents(tmp_path) == before


def test_index_whose_states_are_not_its_times_is_refused(tmp_path):
    write(tmp_path)
    index = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps(index | {"times": [80.0, 0.5]}))
    with pytest.raises(DataError, match="3 states are promised, but there are 2 times"):
        PairStore.open(tmp_path)


@pytest.mark.parametrize("times", [(1.0, 1.0), (1.0, 2.0), (1.0, 0.0), (-1.0,), (float("inf"), 1.0), (float("nan"),)])
def test_times_that_do_not_fall_to_zero_are_refused(times: tuple[float, ...]):
    with pytest.raises(RecipeError, match="accepted are times that fall from the noisiest to the cleanest, all above"):
        replace(PLAN, times=times)


def test_index_with_impossible_times_is_refused(tmp_path):
    write(tmp_path)
    index = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps(index | {"times": [0.5, 80.0, 0.002]}))
    with pytest.raises(DataError, match=r"is damaged \(RecipeError: The times of a path are \[0.5, 80.0, 0.002\]"):
        PairStore.open(tmp_path)


def test_fingerprint_depends_on_path_and_times(tmp_path):
    stores = [
        write(tmp_path / "paths"),
        write(tmp_path / "ends", replace(PLAN, times=()), without_path),
        write(tmp_path / "times", replace(PLAN, times=(80.0, 0.5, 0.002))),
        write(tmp_path / "moved", maker=lambda a, b: replace(make(a, b), path=make(a, b).path + 1)),
    ]
    assert len({store.fingerprint() for store in stores}) == 4


def test_store_describes_its_paths(tmp_path):
    assert write(tmp_path / "paths").describe()["path"] == "3 states from time 80 to 0.002"
    assert write(tmp_path / "ends", replace(PLAN, times=()), without_path).describe()["path"] == "none"
