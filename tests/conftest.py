"""What every test runs under: one thread per process, no window, no download, one folder of networks that judge."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

os.environ["MPLBACKEND"] = "Agg"
os.environ["HF_HUB_OFFLINE"] = "1"
if "PYTEST_XDIST_WORKER" not in os.environ:  # workers and what they start inherit it: each judge is trained once
    known = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    os.environ.setdefault("MPLCONFIGDIR", str(known / "matplotlib"))  # its list of fonts takes seconds to make
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="fewstep-tests-")

import jaxtyping
import torch

from checked import checked

jaxtyping.jaxtyped = checked  # before anything of fewstep is imported
torch.set_num_threads(1)  # `make test` runs one process per core; more threads than cores only get in each other's way


@pytest.fixture(scope="session", autouse=True)
def brief_judges() -> Iterator[None]:
    """Train networks that judge for a tenth of the time: only tests/evaluate asks how good they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fewstep.evaluate.features.STEPS", 30)
        yield


@pytest.fixture(scope="module")
def brief_looks() -> Iterator[None]:
    """Let trainings of a module that asks for it look at 16 samples, not at 128, and judges know 216 real items.

    Only tests/jobs and tests/evaluate ask what they see.
    """
    fewer = (("health", "SEEDS", 4), ("health", "CONDITIONS", 4), ("pulse", "CONDITIONS", 4), ("measure", "MOST", 216))
    with pytest.MonkeyPatch.context() as patch:
        for module, name, number in fewer:
            patch.setattr(import_module(f"fewstep.jobs.{module}"), name, number)  # some are functions in the package
        yield


@pytest.fixture(scope="session")
def cache() -> Path:
    """Where networks that judge are kept, for all tests and their processes; do not break what is in it."""
    return Path(os.environ["XDG_CACHE_HOME"]) / "fewstep"


def pytest_unconfigure() -> None:
    """Remove what this run kept."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)
