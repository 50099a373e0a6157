"""A tiny teacher of the digits, trained once for all tests of jobs."""

from pathlib import Path

import pytest

import fewstep as fs

TEACHER = ("steps=80", "batch=32", "looks=1", "judged=16", "learners.student.network.unet.widths=[8, 8]")
TEACHER += ("sampler.many_step.steps=6",)  # every run of a student samples it for a reference


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where that teacher lies; do not write into it."""
    return tmp_path_factory.mktemp("runs") / "teacher"


@pytest.fixture(scope="session")
def teacher(teacher_folder: Path, cache: Path) -> fs.Model:
    """Good enough that its students count as healthy; do not change it."""
    return fs.train_teacher(fs.Digits(), fs.Options(teacher_folder, settings=TEACHER, show=False, cache=cache))
