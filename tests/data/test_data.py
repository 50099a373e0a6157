import pytest
import torch
from sklearn.datasets import load_digits

from fewstep.data import Digits, ImageFolder, open_data
from fewstep.data.base import Data
from fewstep.errors import DataError
from fewstep.labels import label_index


def label_index_of(data: Data, text: str) -> int:
    return label_index(text, data.classes, data.name)


@pytest.fixture(scope="module")
def digits() -> Digits:
    return Digits()


def test_digits_are_the_scans_of_scikit_learn(digits: Digits):
    batch, scans = digits.batch(range(len(digits))), load_digits()
    assert batch.x0.shape == (1797, *digits.shape)
    assert torch.equal((batch.x0[:, 0] + 1) * 8, torch.from_numpy(scans.images).float())
    assert batch.c is not None
    assert batch.c.tolist() == scans.target.tolist()


def test_digits_fill_the_range_exactly(digits: Digits):
    x0 = digits.batch(range(len(digits))).x0
    assert (x0.dtype, x0.min().item(), x0.max().item()) == (torch.float32, -1.0, 1.0)


def test_a_batch_of_digits_keeps_the_order_asked_for(digits: Digits):
    batch, one = digits.batch([5, 0, 5]), digits.batch([5])
    assert torch.equal(batch.x0[0], one.x0[0])
    assert torch.equal(batch.x0[2], one.x0[0])
    assert batch.c is not None
    assert batch.c.tolist() == [5, 0, 5]


def test_fingerprint_of_digits_does_not_change(digits: Digits):
    assert digits.fingerprint() == Digits().fingerprint()
    assert len(digits.fingerprint()) == 64


def test_digits_describe_themselves(digits: Digits):
    assert "1,797" in digits.describe()["items"]


def test_label_is_found_by_name_and_by_number(digits: Digits):
    assert label_index_of(digits, "7") == 7


def test_name_of_a_class_wins_over_its_number(paint, tmp_path):
    for name in ("3", "5", "7"):
        paint(f"{name}/0.png")
    assert label_index_of(ImageFolder.open(tmp_path), "5") == 1
    assert label_index_of(ImageFolder.open(tmp_path), "2") == 2


@pytest.mark.parametrize("text", ["10", "-1", "seven", ""])
def test_unknown_label_is_refused_with_the_range(digits: Digits, text: str):
    with pytest.raises(DataError, match=r"no class of digits.* from 0 to 9.*Known: 0, 1"):
        label_index_of(digits, text)


def test_unknown_label_is_refused_with_the_nearest_name(paint, tmp_path):
    for name in ("cat", "dog", "horse"):
        paint(f"{name}/0.png")
    with pytest.raises(DataError, match="did you mean 'horse'"):
        label_index_of(ImageFolder.open(tmp_path), "hourse")


def test_many_classes_are_not_all_listed(paint, tmp_path):
    for number in range(25):
        paint(f"class{number}/0.png")
    with pytest.raises(DataError, match="and 5 more"):
        label_index_of(ImageFolder.open(tmp_path), "x")


def test_label_of_unconditional_data_is_refused(paint, tmp_path):
    paint("0.png")
    with pytest.raises(DataError, match="has no classes"):
        label_index_of(ImageFolder.open(tmp_path), "0")


def test_digits_open_by_name():
    assert isinstance(open_data("digits"), Digits)
    assert isinstance(open_data("digits", size=8, channels=1), Digits)


@pytest.mark.parametrize("form", [{"size": 16}, {"channels": 3}])
def test_digits_come_in_one_form_only(form: dict[str, int]):
    with pytest.raises(DataError, match=r"digits were asked for .*8x8.*Leave size and channels out"):
        open_data("digits", **form)


def test_folder_opens_by_path(paint, tmp_path):
    paint("0.png", mode="L")
    data = open_data(str(tmp_path), size=4, channels=1)
    assert data.shape == (1, 4, 4)


def test_folder_is_in_colour_unless_asked_otherwise(paint, tmp_path):
    paint("0.png")
    assert open_data(str(tmp_path)).shape == (3, 8, 8)


def test_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(DataError, match=r"'digit'.*did you mean 'digits'.*a folder"):
        open_data("digit")
