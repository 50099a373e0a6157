from collections.abc import Callable, Sequence

import pytest
import torch

import fewstep.data.shapes.corpus
from fewstep.data import (
    Batch,
    Data,
    Digits,
    ImageFolder,
    MovingDigits,
    Notes,
    NotesWave,
    Oversampled,
    PairsPlan,
    PairStore,
    Shapes,
    write_pairs,
)
from fewstep.errors import DataError

KINDS: dict[str, Callable[[], Data]] = {
    "digits": Digits,
    "moving digits": MovingDigits,
    "notes": lambda: Notes(count=72),
    "waves": lambda: NotesWave(count=72),
    "shapes": lambda: Shapes(count=72),
    "oversampled": lambda: Oversampled(Digits(), {3: 0.5}),
}


class Own(Data):
    """Somebody's own data, which say nothing of their conditions."""

    name, shape, classes = "own", (1,), ("even", "odd")

    def __init__(self, count: int, known: bool = True) -> None:
        self.count, self.known, self.most = count, known, 0

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: Sequence[int]) -> Batch:
        chosen = torch.as_tensor(indices, dtype=torch.long)
        self.most = max(self.most, len(chosen))
        return Batch(chosen[:, None].float(), chosen % 2 if self.known else None)

    def describe(self) -> dict[str, str]:
        return {}

    def fingerprint(self) -> str:
        return ""


class Told(Own):
    """Data whose items nobody may read."""

    def batch(self, indices: Sequence[int]) -> Batch:
        raise DataError(f"{len(indices)} items were read")

    def conditions(self, indices: Sequence[int]) -> torch.Tensor:
        return torch.as_tensor(indices, dtype=torch.long) % 2


@pytest.mark.parametrize("kind", KINDS)
def test_conditions_are_those_of_the_batch(kind: str):
    data = KINDS[kind]()
    for indices in ([7, 0, 7, len(data) - 1], range(5), []):
        conditions = data.conditions(indices)
        assert torch.equal(conditions, data.batch(indices).c)
        assert conditions.shape[1:] == data.condition


def test_conditions_of_your_own_data_are_read_in_pieces():
    data = Own(2500)
    assert torch.equal(data.conditions(range(2500)), torch.arange(2500) % 2)
    assert data.most == 1024
    assert data.conditions([]).shape == (0,)
    assert Own(3, known=False).conditions(range(3)) is None


def test_shares_need_no_item():
    data = Oversampled(Told(10), {1: 0.75})
    assert data.conditions(range(len(data))).double().mean() == 0.75


def test_conditions_of_shapes_need_no_drawing(monkeypatch):
    data = Shapes(count=3)
    expected = data.batch(range(3)).c
    monkeypatch.setattr(fewstep.data.shapes.corpus, "render", None)
    assert torch.equal(data.conditions(range(3)), expected)


def test_conditions_of_notes_need_no_playing(monkeypatch):
    monkeypatch.setattr("fewstep.data.notes.play", None)
    assert len(Notes(count=72).conditions(range(72))) == 72


def test_conditions_of_images_need_no_image(paint, tmp_path):
    for name in ("cat/0.png", "cat/1.png", "dog/0.png"):
        paint(name)
    data = ImageFolder.open(tmp_path, memory_limit=0)
    assert data.batch([2, 0]).c.tolist() == [1, 0]
    for path in data.paths:
        path.unlink()
    assert data.conditions([2, 0]).tolist() == [1, 0]


def test_images_without_classes_have_no_conditions(paint, tmp_path):
    paint("0.png")
    assert ImageFolder.open(tmp_path).conditions([0]) is None


def test_conditions_of_pairs_need_no_noise(monkeypatch, tmp_path):
    for name, c in (("labelled", torch.arange(10) % 3), ("bare", None)):
        made = [Batch(torch.zeros(10, 1), c, torch.ones(10, 1)).cut(i, i + 4) for i in (0, 4, 8)]
        plan = PairsPlan(10, 4, {}, ("a", "b", "c") if c is not None else ())
        list(write_pairs(tmp_path / name, lambda start, stop, made=made: made[start // 4], plan))
    labelled, bare = (PairStore.open(tmp_path / name) for name in ("labelled", "bare"))
    assert torch.equal(labelled.batch([9, 4]).c, labelled.conditions([9, 4]))
    monkeypatch.setattr("fewstep.data.pairs.noise", None)
    assert labelled.conditions([9, 0, 4]).tolist() == [0, 0, 1]
    assert bare.conditions([1]) is None
    with pytest.raises(IndexError):
        labelled.conditions([10])
