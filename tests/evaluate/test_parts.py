"""What is made of many items a part at a time is what is made of all at once, to the last bit."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fewstep.evaluate import PART, held, in_parts, parts
from fewstep.evaluate.features import _fingerprint

ITEMS = torch.randn(2 * PART + 7, 3, generator=torch.Generator().manual_seed(0))


def doubled(x: Tensor) -> Tensor:
    assert len(x) <= PART
    return 2 * x


@pytest.mark.parametrize("count", [1, PART, PART + 1, len(ITEMS)])
def test_parts_are_put_together(count: int) -> None:
    assert in_parts(doubled, ITEMS[:count]).equal(2 * ITEMS[:count])
    assert in_parts(lambda x, c: x[:, 0] * c, ITEMS[:count], ITEMS[:count, 1]).equal(
        ITEMS[:count, 0] * ITEMS[:count, 1]
    )


@pytest.mark.parametrize("most", [0, 1 << 30])
def test_pictures_in_a_file_are_the_same(most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MOST", most)
    with held(doubled, ITEMS, tmp_path / "cache") as found:
        assert found.equal(2 * ITEMS)
        assert (tmp_path / "cache").exists() == (most == 0)
        assert _fingerprint(found, None, 0, 0) == _fingerprint(2 * ITEMS, None, 0, 0)
    assert not [*tmp_path.rglob("*.*"), *(tmp_path / "cache").glob("*")]
