"""Tiny pipelines with students of random weights, and checks of exports without a process of their own."""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "interop"))  # tiny.py

from tiny import built

from fewstep.export import Request, Student, Verified, Wanted, export, fresh
from fewstep.export.verify import compared
from fewstep.interop import Pipe
from fewstep.interop.bridge import family_named
from fewstep.model import Model
from fewstep.networks import Lora, add_lora
from fewstep.sampling import FewStep
from fewstep.sharing import copy_sharing
from fewstep.times import Schedule, Trailing

FAMILY = {"sd-v": "sd", "schnell": "flux"}
SIDE = {"dit": 16, "unconditional": 16}
ASKED = Request(("a red disc", "two rings"))
SOME = (r"attn1|conv_in|conv_out|time_emb|mid_block|shortcut|samplers|^proj",)  # of a U-Net's many layers
NOT_UPSAMPLERS = (r"^(?!.*upsamplers)",)  # diffusers misreads the published name of one in a block without attention


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


def adapted(pipe: Pipe, lora: Lora | None = None, seed: int = 1) -> torch.nn.Module:
    """The backbone of a pipeline with random adapters."""
    base, default = pipe.model().view.net, Lora(4, alpha=8.0, targets=SOME if pipe.family.BACKBONE == "unet" else ())
    net = add_lora(copy_sharing(base, list(base.parameters())), lora or default, base)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in net.named_parameters():
        if "lora_" in name:
            parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    return net


@pytest.fixture(scope="session")
def student(pipe: Callable[[str], Pipe]) -> Callable[[str], Student]:
    """A student with an adapter by the name of its pipeline; do not change its weights."""
    return lru_cache(lambda name: Student.of(few_step(pipe(name), adapted(pipe(name))), pipe(name)))


def few_step(pipe: Pipe, net: torch.nn.Module, gamma: float = 0.0, schedule: Schedule | None = None) -> Model:
    """A student of a pipeline for 4, 2 and 1 steps."""
    teacher, sampler = pipe.model(), FewStep(schedule or Trailing(1.0), (4, 2, 1), gamma)
    facts = dict(teacher.facts) | {"recipe": "a-recipe", "seed": 3}
    return replace(teacher, view=replace(teacher.view, net=net), sampler=sampler, facts=facts)


def changed(pipe: Pipe) -> torch.nn.Module:
    """The backbone of a pipeline with other weights."""
    net = copy_sharing(pipe.model().view.net, ())
    generator = torch.Generator().manual_seed(1)
    for parameter in net.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return net


def checked(folder: Path, base: str | None = None) -> Verified:
    """What ``verify`` finds, in this process: stock diffusers is the same."""
    return compared(folder, *fresh.reproduce(folder, base))


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


def wanted(form: str = "lora", **more: Any) -> Wanted:
    """Two pictures in a form."""
    return Wanted(form, request=ASKED, **more)
