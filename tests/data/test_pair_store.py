import json
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fewstep.data import Batch, PairStore, batches, write_pairs
from fewstep.data.pairs import PairsPlan
from fewstep.errors import DataError, RecipeError

MADE_WITH = {"teacher": "abc", "solver": "heun", "steps": "40"}
CLASSES = ("zero", "one", "two")
PLAN = PairsPlan(10, 4, MADE_WITH, CLASSES)


def make(start: int, stop: int) -> Batch:
    """Pair i starts from noise i and has label i mod 3."""
    z = torch.stack([torch.full((1, 2, 2), float(number)) for number in range(start, stop)])
    return Batch(z / 100, torch.arange(start, stop) % 3, z)


def write(
    folder: Path, count: int = 10, maker: Callable[[int, int], Batch] = make, **changed: object
) -> list[tuple[int, int]]:
    return list(write_pairs(folder, maker, replace(PLAN, count=count, **changed)))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_pairs_come_back_as_they_were_written(tmp_path):
    write(tmp_path)
    store = PairStore.open(tmp_path)
    batch, same = store.batch([9, 0, 4]), [make(n, n + 1) for n in (9, 0, 4)]
    assert torch.equal(batch.z, torch.cat([one.z for one in same]))
    assert torch.equal(batch.x0, torch.cat([one.x0 for one in same]))
    assert batch.c.tolist() == [0, 0, 1]
    assert (len(store), store.shape, store.classes) == (10, (1, 2, 2), CLASSES)


def test_pairs_without_conditions_have_none(tmp_path):
    write(tmp_path, maker=lambda start, stop: Batch(make(start, stop).x0, None, make(start, stop).z), classes=())
    assert PairStore.open(tmp_path).batch([1, 2]).c is None


def test_embeddings_as_conditions_are_kept(tmp_path):
    write(tmp_path, maker=lambda a, b: Batch(make(a, b).x0, torch.ones(b - a, 5, 7), make(a, b).z), classes=())
    assert PairStore.open(tmp_path).batch([1, 2]).c.shape == (2, 5, 7)


def test_progress_is_yielded_from_the_start(tmp_path):
    assert write(tmp_path) == [(0, 10), (4, 10), (8, 10), (10, 10)]


def test_store_feeds_the_loader(tmp_path):
    write(tmp_path)
    stream = list(islice(batches(PairStore.open(tmp_path), 5, seed=0), 2))
    assert sorted(torch.cat([batch.z[:, 0, 0, 0] for batch in stream]).tolist()) == list(range(10))


def test_items_come_in_the_order_asked_for_however_often(tmp_path):
    write(tmp_path)
    asked = [7, 2, 2, -1, 5, 0, 8, 7]
    batch = PairStore.open(tmp_path).batch(asked)
    assert batch.z[:, 0, 0, 0].tolist() == [7, 2, 2, 9, 5, 0, 8, 7]
    assert torch.equal(batch.x0, batch.z / 100)
    assert batch.c.tolist() == [1, 2, 2, 0, 2, 0, 2, 1]
    assert len(PairStore.open(tmp_path).batch([]).x0) == 0


def test_a_batch_can_be_changed_without_changing_the_store(tmp_path):
    write(tmp_path)
    store = PairStore.open(tmp_path)
    store.batch([3]).x0.zero_()
    assert torch.equal(store.batch([3]).x0, make(3, 4).x0)


def test_index_past_the_end_is_refused(tmp_path):
    write(tmp_path)
    with pytest.raises(IndexError):
        PairStore.open(tmp_path).batch([10])


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_stop_and_continue_equals_uninterrupted(tmp_path, steps: int):
    write(tmp_path / "whole")
    stopped = write_pairs(tmp_path / "parts", make, PLAN)
    list(islice(stopped, steps))
    stopped.close()
    write(tmp_path / "parts")
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert PairStore.open(tmp_path / "parts").fingerprint() == PairStore.open(tmp_path / "whole").fingerprint()


def test_finished_shards_are_not_made_again(tmp_path):
    asked: list[int] = []

    def count_calls(start: int, stop: int) -> Batch:
        asked.append(start)
        return make(start, stop)

    list(islice(write_pairs(tmp_path, count_calls, PLAN), 3))
    assert write(tmp_path, maker=count_calls)[0] == (8, 10)
    assert write(tmp_path, maker=count_calls) == [(10, 10)]
    assert asked == [0, 4, 8]


def test_error_in_the_teacher_keeps_what_was_finished(tmp_path):
    def fails(start: int, stop: int) -> Batch:
        if start == 8:
            raise RuntimeError("out of memory")
        return make(start, stop)

    with pytest.raises(RuntimeError, match="out of memory"):
        write(tmp_path, maker=fails)
    assert write(tmp_path)[0] == (8, 10)


def test_larger_count_extends_the_store(tmp_path):
    write(tmp_path / "grown")
    assert write(tmp_path / "grown", count=17)[0] == (8, 17)
    write(tmp_path / "whole", count=17)
    assert contents(tmp_path / "grown") == contents(tmp_path / "whole")


def test_smaller_count_is_refused(tmp_path):
    write(tmp_path)
    with pytest.raises(DataError, match="already holds a store of 10 pairs, more than the 7 asked for"):
        write(tmp_path, count=7)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"made_with": MADE_WITH | {"steps": "20"}}, "steps is '40', asked for is '20'"),
        ({"made_with": MADE_WITH | {"guidance": "4.0"}}, "guidance is 'not recorded', asked for is '4.0'"),
        ({"made_with": {"teacher": "abc", "solver": "heun"}}, "steps is '40', asked for is 'nothing'"),
        ({"shard": 5}, "pairs per file is '4', asked for is '5'"),
        ({"classes": ("a", "b", "c")}, "classes is 'zero, one, two', asked for is 'a, b, c'"),
    ],
)
def test_other_settings_are_refused_before_anything_is_made(tmp_path, changed: dict[str, object], words: str):
    write(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(DataError, match=f"{words}.*give another folder, or delete this one"):
        write(tmp_path, **changed)
    assert contents(tmp_path) == before


def test_expectations_are_checked(tmp_path):
    write(tmp_path)
    assert len(PairStore.open(tmp_path, {"teacher": "abc"})) == 10
    with pytest.raises(DataError, match=r"made with something else .*teacher is 'abc', asked for is 'xyz'"):
        PairStore.open(tmp_path, {"teacher": "xyz", "steps": "40"})


def test_folder_without_pairs_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no pairs"):
        PairStore.open(tmp_path)


def test_unfinished_store_is_refused(tmp_path):
    list(islice(write_pairs(tmp_path, make, PLAN), 2))
    with pytest.raises(DataError, match=r"unfinished: 4 of 10 are there.*continues where it stopped"):
        PairStore.open(tmp_path)


def test_truncated_shard_is_reported_and_written_anew(tmp_path):
    write(tmp_path)
    before, file = contents(tmp_path), tmp_path / "pairs-00001.safetensors"
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(DataError, match=r"pairs-00001.safetensors cannot be read; it is truncated or damaged"):
        PairStore.open(tmp_path)
    assert write(tmp_path) == [(4, 10), (10, 10)]
    assert contents(tmp_path) == before


def test_missing_shard_is_reported(tmp_path):
    write(tmp_path)
    (tmp_path / "pairs-00002.safetensors").unlink()
    with pytest.raises(DataError, match=r"pairs-00002.safetensors is missing, but the index promises 3 shards"):
        PairStore.open(tmp_path)


def spoil(folder: Path, **tensors: torch.Tensor) -> None:
    """Replace tensors of the first shard."""
    file = folder / "pairs-00000.safetensors"
    save_file({name: tensor.clone() for name, tensor in (load_file(file) | tensors).items()}, file)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        (
            {"z": torch.zeros(4, 1, 2, 3)},
            r"holds .*'float32 \(4, 1, 2, 3\)'.*index promises .*'float32 \(4, 1, 2, 2\)'",
        ),
        ({"x0": torch.zeros(4, 1, 2, 2).half()}, r"float16 \(4, 1, 2, 2\)"),
        ({"extra": torch.zeros(1)}, "extra"),
        ({"x0": torch.full((4, 1, 2, 2), torch.nan)}, "4 of 4 pairs in .* have a x0 that is not finite"),
        ({"z": torch.full((4, 1, 2, 2), torch.inf)}, "4 of 4 pairs in .* have a z that is not finite"),
        ({"c": torch.tensor([0, 1, 2, 3])}, r"labels in .* run from 0 to 3, .* are -1 \(no class\) to 2"),
    ],
)
def test_shard_that_breaks_its_promise_is_reported(tmp_path, tensors: dict[str, torch.Tensor], words: str):
    write(tmp_path)
    spoil(tmp_path, **tensors)
    with pytest.raises(DataError, match=words):
        PairStore.open(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is damaged"),
        ("[]", "is no index of pairs"),
        ('{"format_version": 1}', "KeyError: 'condition'"),
        ('{"format_version": 3}', "format_version 3, but this version of fewstep reads 1 and 2"),
    ],
)
def test_damaged_index_is_refused(tmp_path, text: str, words: str):
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(DataError, match=words):
        PairStore.open(tmp_path)


def test_index_that_contradicts_itself_is_refused(tmp_path):
    write(tmp_path)
    index = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps(index | {"count": 11}))
    with pytest.raises(DataError, match=r"shards of \(4, 4, 2\) do not make 11 pairs by 4"):
        PairStore.open(tmp_path)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (lambda a, b: Batch(make(a, b).x0, make(a, b).c), "no z, but pairs need the noise"),
        (lambda a, b: Batch(make(a, b).x0 * torch.nan, make(a, b).c, make(a, b).z), "4 of 4 pairs .* not finite"),
        (lambda a, b: make(a, b - 1), r"holds .*\(3, 1, 2, 2\).* promises .*\(4, 1, 2, 2\)"),
        (lambda a, b: Batch(make(a, b).x0, make(a, b).c + 1, make(a, b).z), "labels .* run from 1 to 3"),
    ],
)
def test_bad_batch_is_refused_before_it_is_written(tmp_path, bad: Callable[[int, int], Batch], words: str):
    with pytest.raises(DataError, match=words):
        write(tmp_path, maker=bad)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("wrong", [{"count": 0}, {"shard": 0}])
def test_numbers_below_one_are_refused(tmp_path, wrong: dict[str, int]):
    with pytest.raises(RecipeError, match="Accepted: at least 1 of each"):
        write(tmp_path, **wrong)


def test_store_describes_what_it_was_made_with(tmp_path):
    write(tmp_path)
    described = PairStore.open(tmp_path).describe()
    assert described["items"] == "10 pairs of 1x2x2 in 3 shards"
    assert described["condition"] == "3 classes"
    assert described["made with"] == "teacher abc, solver heun, steps 40"


def test_fingerprint_depends_on_the_pairs(tmp_path):
    (
        write(tmp_path / "a"),
        write(tmp_path / "b", maker=lambda a, b: Batch(make(a, b).x0 + 1, make(a, b).c, make(a, b).z)),
    )
    assert PairStore.open(tmp_path / "a").fingerprint() != PairStore.open(tmp_path / "b").fingerprint()
