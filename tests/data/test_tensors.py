"""Items in memory: what is given comes back, and what cannot be items is refused."""

import sys

import pytest
import torch
from torch import Tensor, nn

import fewstep as fs
from fewstep.evaluate import Judge
from fewstep.evaluate.features import Classifier

X0 = torch.randn(12, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def decoded(x: Tensor) -> Tensor:
    """Images of three channels, twice as large, of latents."""
    return nn.functional.interpolate(x[:, :3], scale_factor=2).tanh()


@pytest.mark.parametrize(
    ("c", "classes", "condition"),
    [(None, (), ()), (torch.arange(12) % 3 - 1, ("a", "b"), ()), (torch.randn(12, 5, 6), (), (5, 6))],
)
def test_items_and_conditions_come_back(c: Tensor | None, classes: tuple[str, ...], condition: tuple[int, ...]):
    data = fs.Tensors(X0, c, classes=classes)
    batch = data.batch([3, 0])
    assert batch.x0.equal(X0[[3, 0]])
    assert (batch.c is None) if c is None else batch.c.equal(c[[3, 0]])
    assert (len(data), data.shape, data.classes, data.condition) == (12, (4, 8, 8), classes, condition)
    assert data.fingerprint() == fs.Tensors(X0.clone(), c, classes=classes).fingerprint()
    assert data.fingerprint() != fs.Tensors(X0 + 1, c, classes=classes).fingerprint()


@pytest.mark.parametrize(
    ("c", "classes", "said"),
    [
        (torch.zeros(11, 2), (), r"12 items came with 0 classes and the conditions float32 of shape \[11, 2\]"),
        (torch.zeros(12), (), r"float32 of shape \[12\]"),
        (torch.zeros(12, dtype=torch.long), (), "0 classes and the conditions int64"),
        (torch.full((12,), 2), ("a", "b"), "below the number of classes"),
        (torch.zeros(12, 2), ("a", "b"), "2 classes and the conditions float32"),
        (None, ("a",), "1 classes and the conditions none"),
        (torch.full((12, 1), torch.nan), (), "not finite"),
    ],
)
def test_what_cannot_be_conditions_is_refused(c: Tensor | None, classes: tuple[str, ...], said: str):
    with pytest.raises(fs.DataError, match=said):
        fs.Tensors(X0, c, classes=classes)


@pytest.mark.parametrize("c", [None, torch.randn(12, 2)])
def test_latents_are_judged_by_their_images_and_are_not_cut(c: Tensor | None, tmp_path, monkeypatch):
    measuring = sys.modules["fewstep.jobs.measure"]  # the package has a function of that name
    monkeypatch.setattr(measuring, "cached_classifier", lambda seen, *_: Classifier(seen.shape[1], 16, 4))
    data = fs.Tensors(3 * X0, c, decode=decoded)
    judge = fs.judge_for(data, cache=tmp_path)
    by_images = Judge.of(decoded(3 * X0), None, judge.net)
    assert judge.features.equal(by_images.features)
    assert data.pictures(X0).equal(decoded(X0))
