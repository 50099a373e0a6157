"""A tiny pipeline on disk, saved once for all tests of a process."""

from pathlib import Path

import pytest
from tiny import built


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pipelines") / "sd"
    built("sd").save_pretrained(place)
    return place
