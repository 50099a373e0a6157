"""Students of tiny pipelines with random weights, and checks of their exports without a process of their own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fewstep.export import Request, Verified, Wanted, fresh
from fewstep.export.verify import compared
from fewstep.interop import Pipe
from fewstep.model import Model
from fewstep.networks import Lora, add_lora
from fewstep.sampling import FewStep
from fewstep.sharing import copy_sharing
from fewstep.times import Schedule, Trailing

ASKED = Request(("a red disc", "two rings"))
SOME = (r"attn1|conv_in|conv_out|time_emb|mid_block|shortcut|samplers|^proj",)  # of a U-Net's many layers
NOT_UPSAMPLERS = (r"^(?!.*upsamplers)",)  # diffusers misreads the published name of one in a block without attention


def adapted(pipe: Pipe, lora: Lora | None = None, seed: int = 1) -> torch.nn.Module:
    """The backbone of a pipeline with random adapters."""
    base, default = pipe.model().view.net, Lora(4, alpha=8.0, targets=SOME if pipe.family.BACKBONE == "unet" else ())
    net = add_lora(copy_sharing(base, list(base.parameters())), lora or default, base)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in net.named_parameters():
        if "lora_" in name:
            parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    return net


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


def wanted(form: str = "lora", **more: Any) -> Wanted:
    """Two pictures in a form."""
    return Wanted(form, request=ASKED, **more)
