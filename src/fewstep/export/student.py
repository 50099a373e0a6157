"""The one source of every form of an export: a student in memory, and the pipeline that it came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from fewstep.denoiser import Denoiser, Denoises
from fewstep.errors import WeightsError
from fewstep.export.adapter import Adapter
from fewstep.export.fresh import digest
from fewstep.guidance import CFG
from fewstep.interop import Bridge, Pipe, at_home, bridge_of
from fewstep.model import Model
from fewstep.networks import LORA, LoraFile, merged
from fewstep.sampling import FewStep

__all__ = ["Student"]

OWN = "Sample it from its run folder, with `fewstep sample` or fewstep.load_model."


@dataclass(frozen=True, eq=False)
class Student:
    """A few-step model with plain weights, the pipeline that it was distilled from, and its adapter if it has one.

    Build it with ``of``.
    """

    model: Model
    pipe: Pipe
    adapter: Adapter | None

    @classmethod
    def of(cls, model: Model, pipe: Pipe, file: LoraFile | None = None) -> "Student":
        """Take a student in memory, or one with merged weights and the ``file`` that holds its adapter.

        Raises ``WeightsError`` for a model that no stock pipeline can run, and for another pipeline than the one it
        came from.
        """
        student = cls.unmerged(model, pipe, file)
        plain = merged(student.bridge).eval().requires_grad_(False)
        return replace(student, model=replace(student.model, view=replace(student.model.view, net=plain)))

    @classmethod
    def unmerged(cls, model: Model, pipe: Pipe, file: LoraFile | None = None) -> "Student":
        """Take one as ``of`` does, whose weights are to stay apart from its adapter: to ask how it can be exported."""
        _refuse_foreign(model, pipe)
        if file is None:
            adapter = Adapter.of_network(model.view.net)
        else:
            base = pipe.model().view.net
            file.refuse_other(base, Path(LORA))
            adapter = Adapter.of_file(file, base)
        return cls(at_home(model), pipe, adapter)

    @property
    def bridge(self) -> Bridge:
        """The network."""
        return cast(Bridge, self.model.view.net)

    @property
    def backbone(self) -> Any:
        """The pipeline's network with the student's weights."""
        return self.bridge.backbone

    @property
    def sampler(self) -> FewStep:
        """The rule that it is sampled by."""
        return cast(FewStep, self.model.sampler)

    @property
    def base(self) -> str:
        """The digest of the weights that it began with: those of the pipeline's own network."""
        return digest(self.pipe.backbone)

    @property
    def scale(self) -> float | None:
        """The guidance scale that one guided call is told, or that two calls are mixed with; None for neither."""
        if self.sampler.guidance:
            return float(cast(CFG, self.sampler.guidance[0]).scale)
        told = self.pipe.family.EMBEDDED and self.backbone.config.guidance_embeds
        return self.pipe.family.GUIDANCE if told and self.sampler.scale is None else self.sampler.scale

    @property
    def mode(self) -> str:
        """How it is guided: ``none``, ``embedded`` or ``cfg``."""
        if self.sampler.guidance:
            return "cfg"
        return "none" if self.scale is None else "embedded"

    def conditions(
        self, prompts: Sequence[str], labels: Sequence[int], images: Mapping[str, Tensor], items: int
    ) -> Tensor | None:
        """Return what the network is told of prompts and their images, or of labels, or of nothing."""
        if self.model.condition:
            return self.model.conditions(self.pipe.conditions(prompts, images=images), items)
        return self.model.conditions(list(labels) if self.model.classes else None, items)

    def guided(self, items: int) -> Denoises:
        """Return the network's view as the sampler asks it."""
        view: Denoises = self.model.view
        if self.sampler.scale is not None:
            scales = torch.full((items,), self.sampler.scale, dtype=torch.float64, device=self.bridge.empty.device)
            view = self.model.view.told({"scale": scales})
        for rule in self.sampler.guidance:
            view = rule(view)
        return view


def _refuse_foreign(model: Model, pipe: Pipe) -> None:
    """Raise for what no stock pipeline can run."""
    net, sampler = bridge_of(model.view.net), model.sampler
    if net is None:
        raise WeightsError(
            f"This model is no student of a diffusers pipeline: its network is a {type(model.view.net).__name__}, "
            "which stock diffusers does not know. Exported are runs of `fewstep distill FOLDER` where FOLDER is a "
            "pipeline, by a recipe whose student comes 'from: teacher'."
        )
    if not isinstance(sampler, FewStep):
        raise WeightsError(
            f"This model is sampled by {type(sampler).__name__}, so it is a teacher, which is a pipeline already. "
            "Export a student."
        )
    if net.family.name != pipe.family.name or dict(net.packing.shapes) != dict(pipe.packing.shapes):
        raise WeightsError(
            f"The student is one of the family {net.family.name} for {dict(net.packing.shapes)}; the pipeline "
            f"{pipe.place} is one of {pipe.family.name} for {dict(pipe.packing.shapes)}. Give the pipeline and the "
            "size of images that the student was distilled from."
        )
    _refuse_more(net, model.view)
    _refuse_guidance(sampler, net)


def _refuse_more(net: Bridge, view: Denoiser) -> None:
    """Raise for a network that is more than a pipeline's own, or is told more."""
    if net.pools:
        raise WeightsError(
            f"The student pools keys and values in the layers {', '.join(net.pools)} (kv_stride), which stock "
            "diffusers does not: without the pools it would be another network. Use its run folder, or distil it with "
            "all keys."
        )
    if view.time_share != 1:
        raise WeightsError(
            f"The student is told a share of {view.time_share:g} of every time (time_share), which no stock pipeline "
            "does. Export a student of a recipe without it."
        )
    if view.second_time:
        raise WeightsError(
            "The student is told the time that it jumps to (second_time), which no stock pipeline says: no form of an "
            f"export holds it. {OWN} Or distil with a recipe without 'second_time', such as lcm-lora, pcm or dmd2-text."
        )
    if view.net is not net:
        raise WeightsError(
            f"The student's network is the pipeline's own inside a {type(view.net).__name__}, whose weights no stock "
            f"pipeline has a place for: no form of an export holds it. {OWN} Or distil with a recipe that trains the "
            "pipeline's own network, such as lcm-lora, pcm or dmd2-text."
        )


def _refuse_guidance(sampler: FewStep, net: Bridge) -> None:
    """Raise for guidance that no stock pipeline does."""
    rules = sampler.guidance
    plain = not rules or (len(rules) == 1 and type(rules[0]) is CFG and isinstance(rules[0].scale, int | float))
    if not plain or (rules and sampler.scale is not None):
        raise WeightsError(
            f"The student is sampled under {', '.join(type(rule).__name__ for rule in rules)}; stock pipelines do "
            "plain classifier-free guidance with one scale, or tell one. Distil the guidance into the student."
        )
    if rules and float(cast(CFG, rules[0]).scale) <= 1:
        raise WeightsError(
            f"The student is sampled under CFG({float(cast(CFG, rules[0]).scale)}); stock pipelines guide with "
            "scales above 1 only. Leave the guidance out of its sampler."
        )
    if net.scaled and not net.family.EMBEDDED and sampler.scale is None:
        raise WeightsError(
            "The student's network takes a guidance scale, but its sampler tells it none, and stock pipelines always "
            "tell one. Set the sampler's 'scale' to the one that it is meant for."
        )
