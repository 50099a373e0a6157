"""Digits, a classifier of them and rows, shared by the tests of fewstep.evaluate."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from fewstep.evaluate import Classifier, Row, features, train_classifier

STEPS = features.STEPS  # before tests/conftest.py makes it a tenth


@pytest.fixture(scope="session")
def digits() -> tuple[Tensor, Tensor]:
    """All 1,797 digits in [-1, 1] with their classes, shuffled."""
    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(data.images / 8 - 1, dtype=torch.float32)[order, None]
    return images, torch.tensor(data.target)[order]


@pytest.fixture(scope="session")
def trained_to_the_end() -> Callable[[], AbstractContextManager[None]]:
    """``with trained_to_the_end():`` networks that judge are as good as those of users."""

    @contextmanager
    def patched() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(features, "STEPS", STEPS)
            yield

    return patched


@pytest.fixture(scope="session")
def classifier(digits: tuple[Tensor, Tensor], trained_to_the_end) -> Classifier:
    """Trained on the first four fifths of the digits."""
    images, labels = digits
    with trained_to_the_end():
        return train_classifier(images[:1437], labels[:1437], 10, seed=0)


@pytest.fixture(scope="session")
def rows() -> list[Row]:
    """A floor, a teacher at two costs and a student that beats it."""
    return [
        Row("real", None, None, 0.06, -0.009, 0.90, 0.91, 2.23, 0.998, None, 898, 9.0),
        Row("teacher", 18, 35, 0.10, 0.002, 0.88, 0.86, 2.19, 0.959, 0.0047, 1797, 8.9, "Heun"),
        Row("teacher", 1, 1, 3.56, 0.610, 0.16, 0.12, 3.10, 0.410, 0.0001, 1797, 8.1, "Euler"),
        Row("student", 1, 1, 0.08, -0.004, 0.91, 0.83, 2.12, 0.986, 0.0001, 1797, 8.9),
    ]
