import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

import pytest
import torch

from fewstep.data import Batch, Data, batches
from fewstep.errors import DataError, RecipeError


@dataclass(frozen=True, eq=False)
class Numbers(Data):
    """Item i is the number i; item ``broken`` cannot be read."""

    count: int
    slow: bool = False
    broken: int = -1
    name: str = "numbers"
    shape: tuple[int, ...] = (1,)
    classes: tuple[str, ...] = ()
    asked: list[int] = field(default_factory=list)

    @property
    def lazy(self) -> bool:
        return self.slow

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: Sequence[int]) -> Batch:
        self.asked.append(len(indices))
        if self.broken in indices:
            raise DataError(f"item {self.broken} is broken")
        return Batch(torch.tensor(indices, dtype=torch.float32)[:, None])

    def describe(self) -> dict[str, str]:
        return {}

    def fingerprint(self) -> str:
        return ""


def drawn(data: Data, size: int, steps: int, **settings: int) -> list[list[int]]:
    """The items of the first batches."""
    stream = batches(data, size, **({"seed": 0} | settings))
    return [batch.x0[:, 0].int().tolist() for batch in islice(stream, steps)]


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("fewstep-data")]


@pytest.mark.parametrize("slow", [False, True])
def test_same_seed_draws_the_same_batches(slow: bool):
    assert drawn(Numbers(10, slow), 4, 9) == drawn(Numbers(10), 4, 9)


def test_another_seed_draws_others():
    assert drawn(Numbers(100), 50, 2, seed=1) != drawn(Numbers(100), 50, 2, seed=2)


def test_epochs_are_shuffled_differently():
    first, second = drawn(Numbers(100), 100, 2)
    assert first != second
    assert first != sorted(first)


def test_each_epoch_shows_each_item_once():
    stream = list(chain(*drawn(Numbers(10), 4, 10)))  # 4 does not divide 10: batches straddle epochs
    assert [sorted(stream[epoch * 10 : epoch * 10 + 10]) for epoch in range(4)] == [list(range(10))] * 4


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("start", [1, 3, 7])
def test_starting_late_equals_skipping(slow: bool, start: int):
    assert drawn(Numbers(10, slow), 4, 5, start=start) == drawn(Numbers(10), 4, start + 5)[start:]


@pytest.mark.parametrize("start", [0, 5])
def test_two_processes_see_what_one_sees(start: int):
    ranks = [drawn(Numbers(10), 3, 8, start=start, rank=rank, world=2) for rank in range(2)]
    assert [left + right for left, right in zip(*ranks, strict=True)] == drawn(Numbers(10), 6, 8, start=start)


def test_batch_larger_than_the_data_wraps_around():
    (batch,) = drawn(Numbers(3), 7, 1)
    assert sorted(batch[:3]) == sorted(batch[3:6]) == [0, 1, 2]


def test_order_does_not_depend_on_the_global_random_state():
    torch.manual_seed(1)
    before = drawn(Numbers(10), 4, 3)
    torch.manual_seed(2)
    assert drawn(Numbers(10), 4, 3) == before


def test_drawing_leaves_the_global_random_state_alone():
    state = torch.get_rng_state()
    drawn(Numbers(10), 4, 3)
    assert torch.equal(torch.get_rng_state(), state)


def test_empty_data_are_refused_at_once():
    with pytest.raises(DataError, match="'numbers' holds no items"):
        batches(Numbers(0), 4, seed=0)


@pytest.mark.parametrize("wrong", [{"size": 0}, {"start": -1}, {"rank": 2, "world": 2}, {"rank": -1}])
def test_numbers_out_of_range_are_refused_at_once(wrong: dict[str, int]):
    with pytest.raises(RecipeError, match="Accepted: size at least 1"):
        batches(Numbers(5), **({"size": 2, "seed": 0} | wrong))


def test_lazy_data_are_decoded_ahead_by_two_at_most():
    data = Numbers(10, slow=True)
    stream = batches(data, 2, seed=0)
    next(stream)
    stream.close()
    assert 1 <= len(data.asked) <= 3


def test_error_while_decoding_reaches_the_consumer():
    with pytest.raises(DataError, match="item 3 is broken"):
        drawn(Numbers(10, slow=True, broken=3), 2, 5)


def test_batches_before_a_broken_one_still_arrive():
    order = list(chain(*drawn(Numbers(10), 2, 5)))
    stream = batches(Numbers(10, slow=True, broken=order[4]), 2, seed=0)
    assert [len(next(stream).x0) for _ in range(2)] == [2, 2]
    with pytest.raises(DataError, match="is broken"):
        next(stream)


def test_closing_ends_the_thread():
    stream = batches(Numbers(10, slow=True), 2, seed=0)
    next(stream)
    assert threads() != []
    stream.close()
    assert threads() == []


def test_error_ends_the_thread():
    with pytest.raises(DataError):
        drawn(Numbers(4, slow=True, broken=0), 4, 1)
    assert threads() == []


def test_data_in_memory_start_no_thread():
    stream = batches(Numbers(10), 2, seed=0)
    next(stream)
    assert threads() == []
