"""What recipes are put together with: a teacher and items of the digits' form."""

import pytest
import torch

import fewstep as fs
from fewstep.batch import Batch
from young import young_teacher


@pytest.fixture(scope="session")
def young() -> fs.Model:
    """A teacher that has learned nothing; do not change it."""
    return young_teacher()


@pytest.fixture(scope="session")
def pairs() -> Batch:
    """Items with a class and the noise that they were made from."""
    generator = torch.Generator().manual_seed(0)
    x0, z = (torch.randn(8, 1, 8, 8, generator=generator) for _ in range(2))
    return Batch(x0, torch.arange(8), z)
