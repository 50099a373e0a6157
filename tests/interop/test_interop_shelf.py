"""What is kept in shards is made once, and memory holds no more of it than was said."""

from pathlib import Path

import pytest
import torch

from fewstep.interop import shelf
from fewstep.interop.shelf import Shelf

COUNT, WIDTH = 23, 6


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "SHARD", 5)


class Maker:
    """Makes rows that say their number, and counts how many."""

    made = 0

    def __call__(self, start: int, stop: int) -> torch.Tensor:
        self.made += stop - start
        return torch.arange(start, stop, dtype=torch.float32)[:, None].expand(-1, WIDTH)


def held(shown: Shelf) -> int:
    return sum(tensor.nbytes for tensor in shown._known.values())


@pytest.mark.parametrize("room", [0, 600, 10**6])
def test_rows_are_those_asked_for_in_that_order_whatever_is_held(tmp_path: Path, room: int) -> None:
    kept, make, wanted = Shelf(tmp_path, room), Maker(), [22, 3, 17, 3, 0, 11]
    for _ in range(2):
        rows = kept.rows("a", wanted, COUNT, make)
        assert rows[:, 0].tolist() == wanted
        assert rows.shape == (len(wanted), WIDTH)
    assert make.made == 5 + 5 + 5 + 3


def test_memory_holds_no_more_than_was_said(tmp_path: Path) -> None:
    kept, make = Shelf(tmp_path, 600), Maker()
    for kind in ("a", "b"):
        kept.rows(kind, range(COUNT), COUNT, make)
    assert 0 < held(kept) <= 600
    assert make.made == 2 * COUNT
    plenty = Shelf(tmp_path, 10**6)
    plenty.rows("a", range(COUNT), COUNT, make)
    assert held(plenty) == COUNT * WIDTH * 4


def test_shards_without_room_are_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, make = Shelf(tmp_path, 0), Maker()
    kept.rows("a", [0], COUNT, make)
    monkeypatch.setattr(shelf, "load_file", lambda *_: pytest.fail("read whole"))
    assert kept.rows("a", [4, 2], COUNT, make)[:, 0].tolist() == [4, 2]
