"""A backbone of diffusers as a network of ours."""

import importlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, cast

import torch
from torch import Tensor, nn

from fewstep.condition import keeps
from fewstep.errors import DataError, RecipeError, nearest
from fewstep.guidance import Away
from fewstep.interop.attention import beside, turned_away
from fewstep.interop.control import Control
from fewstep.interop.families import FAMILIES, Family
from fewstep.interop.packing import BESIDE, CONTROL, Packing
from fewstep.interop.pooled import pooled, pools_for
from fewstep.networks import Perturb
from fewstep.tapped import standing

__all__ = ["Bridge", "bridge_of", "family_named"]


class Bridge(nn.Module):
    """``net(x, label, c, scale=None, away=None)`` around the U-Net or transformer ``backbone`` of a pipeline.

    ``family`` and ``config`` (the backbone's own configuration) say what is built, ``parts`` the shapes of what it is
    told of an item.  c is a packed condition (b, width), in which rows that begin with 0 stand for the empty prompt, or
    a class (b,), -1 for none, or None.  What a row keeps besides the prompt goes to the backbone as it is: ``beside``
    as further channels of x, ``control`` to the ControlNet of the pipeline at that place (``Control.of``), which is not
    trained.
    With ``scale`` a guidance scale is a further input of a U-Net, which starts silent; families that are always told
    one take it anyway.  ``away`` is a rule for the attention to the prompt.
    ``perturb`` is how far the text states of prompts are perturbed in training, as ``Perturb`` takes it; not those of
    the empty prompt, and not masked padding.
    ``kv_stride``, ``kv_layers`` and ``kv_norm`` pool the keys and values of self-attention, as in our own DiT; the
    backbone itself stays what diffusers knows.
    Raises ``RecipeError`` for a family that is not known, for perturbed states where no text is read, and for pooled
    keys where attention has no grid of its own.
    """

    def __init__(
        self,
        family: str,
        config: Mapping[str, Any],
        parts: Mapping[str, Sequence[int]] | None = None,
        scale: bool = False,
        perturb: float | Mapping[str, float] = 0.0,
        kv_stride: int = 1,
        kv_layers: Sequence[int] | None = None,
        kv_norm: bool = False,
        control: str | Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.family = family_named(family)
        self.packing = Packing({name: tuple(shape) for name, shape in (parts or {}).items()})
        model: Any = getattr(importlib.import_module("diffusers"), self.family.MODEL)
        self.backbone: nn.Module = model.from_config(self.family.settings(config, scale))
        self.scaled = scale or self.family.EMBEDDED
        self.perturb = Perturb(perturb)
        if self.perturb.g and "states" not in self.packing.shapes:
            raise RecipeError(f"perturb: {perturb} is for pipelines that read text; one of {family} reads none.")
        if scale and self.family.SILENT:
            nn.init.zeros_(self.backbone.get_parameter(self.family.SILENT))
        self.pools = pools_for(self.family, self.backbone.config, kv_stride, kv_layers, kv_norm)
        self.empty: Tensor
        self.register_buffer("empty", torch.zeros(self.packing.prompt.width))
        self.control = None if control is None else Control.of(control)

    def forward(
        self,
        x: Tensor,
        label: Tensor,
        c: Tensor | None = None,
        scale: Tensor | None = None,
        away: Away | None = None,
    ) -> Tensor:
        """Return the backbone's output, the shape of x.

        Raises ``DataError`` for a condition of another kind, and ``RecipeError`` for a scale or a negative condition
        that is not taken.
        """
        if scale is not None and not self.scaled:
            raise RecipeError(
                "a guidance scale was given to a backbone that takes none; give the learner 'inputs: [scale]'."
            )
        told, given = self._cast(c, x), None if scale is None else scale.to(x.dtype)
        net: Any = self.backbone
        if CONTROL in told:
            net = cast(Control, self.control).steering(net, self.family, x, label, told)
        if BESIDE in told:
            x = torch.cat([x, told[BESIDE]], 1)
        with ExitStack() as inside:
            if self.pools:
                inside.enter_context(pooled(self.backbone, self.family.KEYS, self.pools, x))
            if away is not None and away.negative is not None:
                told = beside(told, self._cast(away.negative, x))
                inside.enter_context(turned_away(self.backbone, away, self.tokens))
            return self.family.ask(net, x, label, told, given)

    @property
    def tokens(self) -> int:
        """The length of a prompt; 0 where there is no text."""
        return self.states[0] if self.states else 0

    @property
    def states(self) -> tuple[int, ...]:
        """The shape of the text states that are read of a prompt, (tokens, width); empty where there is no text."""
        return self.packing.shapes.get("states", ())

    @property
    def blocks(self) -> tuple[str, ...]:
        """The parts behind which an adapter can stand: the residual blocks of a U-Net."""
        kinds = ((name, type(module).__name__) for name, module in self.named_modules())
        return tuple(name for name, kind in kinds if kind == "ResnetBlock2D")

    @property
    def in_tokens(self) -> bool:
        """Whether the backbone's parts say (b, tokens, channels): those of a transformer do."""
        return len(self.family.LINES) == 1

    @property
    def lines(self) -> tuple[tuple[str, ...], ...]:
        """The parts that can be listened to, in order: of a U-Net those on the way down, in the middle and on the way
        up; of a transformer all of its blocks."""
        return tuple(tuple(name for place in line for name in self._along(place)) for line in self.family.LINES)

    def part(self, name: str) -> str:
        """Return the part of the backbone that stands where a U-Net of ours has ``name``; other names as they are."""
        return standing(name, self.lines)

    def _along(self, place: str) -> list[str]:
        part = self.backbone.get_submodule(place)
        if isinstance(part, nn.ModuleList):
            return [f"backbone.{place}.{i}" for i in range(len(part))]
        return [f"backbone.{place}"]

    def read(self, c: Tensor | None, count: int) -> Tensor:
        """Return the text states of packed prompts, (count, tokens, width), of the empty one for None."""
        return self.told(c, count)["states"]

    @property
    def _kept(self) -> str:
        """What there is besides a prompt, in words."""
        return " and ".join(
            f"{n} {list(self.packing.shapes[n])}" for n in (BESIDE, CONTROL) if n in self.packing.shapes
        )

    def _cast(self, c: Tensor | None, x: Tensor) -> dict[str, Tensor]:
        """Return what the backbone is told in the precision of x; classes stay whole numbers."""
        parts = self.told(c, len(x)).items()
        return {name: part.to(x.dtype) if part.is_floating_point() else part for name, part in parts}

    def told(self, c: Tensor | None, count: int) -> dict[str, Tensor]:
        """Return what the backbone is told, one row per item."""
        if not self.packing.shapes:
            return {"label": torch.full((count,), -1, device=self.empty.device) if c is None else c}
        if c is None and not self.packing.keeps:
            return self.packing.unpack(self.empty.expand(count, -1))
        if c is None or (self.packing.keeps and c.ndim == 2 and not bool(keeps(c).all())):
            raise DataError(
                f"A condition came without its images; besides a prompt this backbone is told {self._kept}. Encode "
                "them with the prompts: pipe.prompts(texts, images={...}), or --control, --mask, --source."
            )
        if c.ndim != 2 or c.shape[1] != self.packing.width:
            raise DataError(
                f"The condition has shape {tuple(c.shape)}; this backbone takes packed prompts of shape "
                f"({count}, {self.packing.width}). Encode prompts with the pipeline that it came from."
            )
        some, width = c[:, :1] != 0, len(self.empty)
        prompt = torch.where(some, c[:, :width], self.empty.to(c))
        told = self.packing.unpack(torch.cat([prompt, c[:, width:]], 1) if self.packing.keeps else prompt)
        if not self.perturb.g:
            return told
        words = told["mask"] > 0 if "mask" in told else told["states"].new_ones(told["states"].shape[:2]) > 0
        return {**told, "states": self.perturb(told["states"], words & some)}


def bridge_of(net: nn.Module) -> Bridge | None:
    """Return the bridge that a network is, or that is the ``body`` inside; None where there is none."""
    inside: nn.Module | None = net
    while inside is not None and not isinstance(inside, Bridge):
        inside = dict(inside.named_children()).get("body")
    return inside


def family_named(name: str) -> Family:
    """Return a family by its name; raise ``RecipeError`` when there is none."""
    for family in FAMILIES:
        if family.name == name:
            return family
    raise RecipeError(f"there is no family of pipelines {name!r}; {nearest(name, (each.name for each in FAMILIES))}")


def around(
    family: Family,
    backbone: Any,
    empty: Mapping[str, Tensor],
    packing: Packing | None = None,
    perturb: float | Mapping[str, float] = 0.0,
) -> Bridge:
    """Return a bridge around a backbone that is there already; ``packing`` if it is told more than a prompt."""
    known = packing or Packing.of(empty)
    with torch.device("meta"):
        bridge = Bridge(family.name, backbone.config, known.shapes, perturb=perturb)
    bridge.backbone = cast(nn.Module, backbone)
    bridge.empty = known.prompt.pack(empty)[0] if empty else torch.zeros(1)
    return bridge
