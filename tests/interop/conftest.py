"""A tiny pipeline on disk and shapes as its latents, made once for all tests of a process."""

from pathlib import Path

import pytest
from tiny import built

from fewstep.data.shapes import Shapes
from fewstep.interop import Encoded, open_pipe


@pytest.fixture(scope="module", autouse=True)
def looks(brief_looks: None) -> None:
    """Trainings of pipelines are brief."""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pipelines") / "sd"
    built("sd").save_pretrained(place)
    return place


@pytest.fixture(scope="session")
def data(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Encoded:
    """What its students learn from; do not change it."""
    return Encoded(Shapes(16, count=40), open_pipe(folder), tmp_path_factory.mktemp("cache"))
