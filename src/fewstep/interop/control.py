"""A ControlNet that nobody trains, beside the networks that it steers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fewstep.errors import WeightsError
from fewstep.interop.families import Family
from fewstep.interop.packing import CONTROL
from fewstep.interop.quiet import quiet
from fewstep.interop.which import Which

__all__ = ["Control"]

NAME = "controlnet"  # of the component


@dataclass(frozen=True, eq=False)
class Control:
    """The ``controlnet`` of the pipeline at ``place``, ``which`` of its files, or the one ``given``.

    It is no module of the network that asks it: neither trained, adapted nor saved with it, and the same one for all
    copies of that network.  Gradients pass through it.
    """

    place: str
    given: nn.Module | None = None
    which: Which = field(default_factory=Which)

    @classmethod
    def of(cls, said: str | Mapping[str, str]) -> "Control":
        """Return that of a pipeline by its place, or by a mapping with ``place`` and what ``Which.facts`` says."""
        if isinstance(said, str):
            return cls(said)
        return cls(said["place"], which=Which.of(said))

    def __deepcopy__(self, memo: object) -> "Control":
        return self

    @cached_property
    def net(self) -> Any:
        """The ControlNet, read when it is first needed; raises ``WeightsError`` when it cannot be."""
        if self.given is not None:
            return self.given
        from diffusers import ControlNetModel

        here = Path(self.place).is_dir()
        try:
            with quiet():
                found = ControlNetModel.from_pretrained(
                    self.place, subfolder=NAME, use_safetensors=True, local_files_only=here,
                    **self.which.of_part(Path(self.place) / NAME),
                )  # fmt: skip
        except Exception as error:  # readers raise all kinds
            raise WeightsError(
                f"The ControlNet that this model is steered by cannot be read from {self.place}: {error}. Put the "
                "pipeline back there: a student does not keep it."
            ) from error
        return found.eval().requires_grad_(False)

    def steering(self, net: Any, family: Family, x: Tensor, time: Tensor, told: Mapping[str, Tensor]) -> Any:
        """Return the backbone ``net`` with the residuals for x added in it."""
        if self.net.device != x.device:
            self.net.to(x.device)
        down, mid = self.net(x, time, controlnet_cond=told[CONTROL], return_dict=False, **family.read(told))
        return partial(net, down_block_additional_residuals=down, mid_block_additional_residual=mid)
