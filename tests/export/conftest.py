"""Tiny pipelines, their students, and exports of them, made once."""

import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "interop"))  # tiny.py

from students import NOT_UPSAMPLERS, adapted, changed, few_step, wanted
from tiny import TOLD, built

from fewstep.export import Student, export
from fewstep.interop import Pipe
from fewstep.interop.bridge import family_named
from fewstep.networks import Lora

FAMILY = {"sd-v": "sd", "schnell": "flux"}
FAMILY |= dict.fromkeys(TOLD, "sd") | {f"{kind}-xl": "sdxl" for kind in TOLD}
SIDE = {"dit": 16, "unconditional": 16}


@pytest.fixture(scope="module", autouse=True)
def looks(brief_looks: None) -> None:
    """Trainings of pipelines are brief."""


@pytest.fixture(scope="session")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pipe]:
    """A pipeline by its name, saved once."""
    known: dict[str, Pipe] = {}
    root = tmp_path_factory.mktemp("bases")

    def get(name: str) -> Pipe:
        if name not in known:
            pipeline, side = built(name), SIDE.get(name, 32)
            pipeline.save_pretrained(root / name)
            known[name] = Pipe(pipeline, family_named(FAMILY.get(name, name)), str(root / name), (side, side))
        return known[name]

    return get


@pytest.fixture(scope="session")
def student(pipe: Callable[[str], Pipe]) -> Callable[[str], Student]:
    """A student with an adapter by the name of its pipeline; do not change its weights."""
    return lru_cache(lambda name: Student.of(few_step(pipe(name), adapted(pipe(name))), pipe(name)))


@pytest.fixture(scope="session")
def exported(pipe: Callable[[str], Pipe], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """An export by family, form and gamma, written once; do not change what is in it."""
    known: dict[tuple[str, str, float], Path] = {}
    root = tmp_path_factory.mktemp("exports")

    def get(name: str, form: str = "lora", gamma: float = 0.0) -> Path:
        key = (name, form, gamma)
        if key not in known:
            source = pipe(name)
            lora = Lora(4, alpha=8.0, targets=NOT_UPSAMPLERS) if form == "kohya" else None
            net = changed(source) if form == "folder" else adapted(source, lora)
            export(Student.of(few_step(source, net, gamma), source), root / "-".join(map(str, key)), wanted(form), None)
            known[key] = root / "-".join(map(str, key))
        return known[key]

    return get
