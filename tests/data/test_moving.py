"""The moving digits: clips of real scans with motion that the class does not decide."""

import pytest
import torch
from torch import Tensor

from fewstep.data import MovingDigits, open_data
from fewstep.errors import DataError


@pytest.fixture(scope="module")
def clips() -> MovingDigits:
    return MovingDigits()


@pytest.fixture(scope="module")
def x0(clips: MovingDigits) -> Tensor:
    return clips.batch(range(len(clips))).x0


def centres(x0: Tensor) -> Tensor:
    """Return the place of the centre of the ink of each frame, in pixels, (n, frames, 2)."""
    ink, place = x0 + 1, torch.arange(8.0)
    total = ink.sum((2, 3))
    return torch.stack([(ink.sum(2) * place).sum(2) / total, (ink.sum(3) * place).sum(2) / total], 2)


def test_moving_digits_are_reproducible(clips: MovingDigits):
    assert clips.fingerprint() == MovingDigits().fingerprint()
    assert clips.fingerprint() != MovingDigits(seed=1).fingerprint()


def test_frames_are_in_range_and_on_the_grid_of_values(x0: Tensor):
    assert x0.dtype == torch.float32
    assert x0.shape == (1797, 4, 8, 8)
    assert (x0.min().item(), x0.max().item()) == (-1.0, 1.0)
    assert torch.equal((x0 * 128).round() / 128, x0)


def test_the_classes_are_those_of_the_digits(clips: MovingDigits):
    batch = clips.batch([5, 0, 5])
    assert batch.c is not None
    assert batch.c.tolist() == [5, 0, 5]
    assert torch.equal(batch.x0[0], batch.x0[2])
    assert clips.classes[7] == "7"
    assert "1,797" in clips.describe()["items"]


def test_every_digit_moves_one_way_through_its_clip(x0: Tensor):
    steps = centres(x0).diff(dim=1)
    whole = steps.sum(1)
    assert whole.norm(dim=1).quantile(0.05) > 0.5
    onward = (steps * whole[:, None]).sum(2) > 0
    assert onward.float().mean() > 0.9


def test_the_frames_of_a_clip_belong_together(x0: Tensor):
    near, far = (x0[:, 1] - x0[:, 2]).square().mean(), (x0[:, 1] - x0.roll(10, 0)[:, 2]).square().mean()
    assert near < far / 2


def test_the_class_does_not_decide_the_direction(clips: MovingDigits, x0: Tensor):
    labels, drift = clips.batch(range(len(clips))).c, centres(x0).diff(dim=1).sum(1)
    means = torch.stack([drift[labels == digit].mean(0) for digit in range(10)])
    assert means.norm(dim=1).max() < drift.norm(dim=1).mean() / 3


def test_moving_digits_open_by_name():
    assert isinstance(open_data("moving-digits"), MovingDigits)
    assert isinstance(open_data("moving-digits", size=8, channels=4), MovingDigits)


@pytest.mark.parametrize("form", [{"size": 16}, {"channels": 1}])
def test_moving_digits_come_in_one_form_only(form: dict[str, int]):
    with pytest.raises(DataError, match=r"moving digits were asked for .*4 grey frames.*Leave size and channels out"):
        open_data("moving-digits", **form)
