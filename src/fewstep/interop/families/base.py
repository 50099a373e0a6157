"""What a family of diffusers pipelines has to say about itself; nothing outside this package knows which one it is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from fewstep.errors import RecipeError
from fewstep.interop.families.extra import Extra
from fewstep.interop.paths import flow_path, is_flow, vp_path
from fewstep.interop.readers import Reader, readers
from fewstep.predict import Prediction
from fewstep.process import Process

__all__ = ["Family"]

UNET = (("down_blocks",), ("mid_block",), ("up_blocks",))


class Family(ABC):
    """How one kind of pipeline is asked.

    ``PIPELINES``  the classes of its folders, as ``model_index.json`` names them.
    ``STUDENTS``   those of few-step students, which are no teachers.
    ``EXTRAS``     those that are told more than a prompt, and what.
    ``BACKBONE``   the component that denoises, ``MODEL`` its class in diffusers.
    ``STEPS``, ``GUIDANCE``  what its pipeline does when nobody says anything.
    ``EMBEDDED``   whether the guidance scale is an input, so that one call is guided.
    ``SILENT``     the weight of what a backbone has got for a scale it was not told before; it begins at zero.
    ``KEYS``       where the self-attention of layer {} is, if its keys and values can be pooled.
    ``LINES``      where its parts stand: on the way down, in the middle and on the way up, or all blocks one by one.
    ``LABEL_SCALE``  for families on the straight path: what time is measured in.
    """

    PIPELINES: ClassVar[tuple[str, ...]]
    STUDENTS: ClassVar[tuple[str, ...]] = ()
    EXTRAS: ClassVar[Mapping[str, Extra]] = {}
    BACKBONE: ClassVar[str] = "transformer"
    MODEL: ClassVar[str]
    STEPS: ClassVar[int] = 50
    GUIDANCE: ClassVar[float] = 7.5
    EMBEDDED: ClassVar[bool] = False
    SILENT: ClassVar[str] = ""
    KEYS: ClassVar[str] = ""
    LINES: ClassVar[tuple[tuple[str, ...], ...]] = (("transformer_blocks",),)
    LABEL_SCALE: ClassVar[float] = 1000.0

    @property
    def name(self) -> str:
        """What the command line calls it."""
        return type(self).__name__.lower()

    @abstractmethod
    def told(self, pipe: Any, prompts: Sequence[str], size: tuple[int, int]) -> dict[str, Tensor]:
        """Return what the backbone is told of each prompt for images of (height, width) pixels, (b, ...) each."""

    def empty(self, pipe: Any, size: tuple[int, int]) -> dict[str, Tensor]:
        """Return what stands for no prompt, (1, ...) each: the empty one."""
        return self.told(pipe, [""], size)

    @abstractmethod
    def ask(self, net: Any, x: Tensor, time: Tensor, told: Mapping[str, Tensor], scale: Tensor | None) -> Tensor:
        """Return the backbone's output for latents x (b, channels, h, w) at the label ``time`` (b,).

        ``scale`` (b,) is an embedded guidance scale, None where there is none.
        """

    def read(self, told: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the arguments by which a backbone, and a ControlNet of its family, reads a prompt.

        Raises ``RecipeError`` for a family that has no ControlNets here.
        """
        raise RecipeError(f"pipelines of the family {self.name} are not steered by a ControlNet; accepted: sd, sdxl.")

    def path(self, scheduler: Mapping[str, Any], tokens: int) -> tuple[Process, Prediction]:
        """Return process and prediction, from a scheduler's configuration and the number of tokens of an image."""
        return flow_path(scheduler, tokens, self.LABEL_SCALE) if is_flow(scheduler) else vp_path(scheduler)

    def settings(self, config: Mapping[str, Any], scale: bool) -> dict[str, Any]:
        """Return the configuration of a backbone, one that takes a guidance scale if wanted.

        Raises ``RecipeError`` where it cannot be told one.
        """
        if scale:
            raise RecipeError(
                f"a guidance scale is to be an input of a {self.MODEL} (family {self.name}), which takes none. "
                "Leave 'inputs: [scale]' out; accepted are the families sd, sdxl and flux."
            )
        return dict(config)

    def side(self, pipe: Any) -> int | Sequence[int] | None:
        """Return the side, or (height, width), of the latents that the stock pipeline makes by itself; None: unsaid."""
        sample: int | Sequence[int] | None = pipe.components[self.BACKBONE].config.sample_size
        return sample

    def unit(self, config: Mapping[str, Any]) -> int:
        """Return of how many latents a side must be a multiple, from the backbone's configuration."""
        return int(config.get("patch_size") or 1)

    def most(self, config: Mapping[str, Any]) -> int | None:
        """Return how many latents a side can have; None: as many as wanted."""
        return None

    def classes(self, pipe: Any) -> tuple[str, ...]:
        """Return the names of the classes, none where it is told no class."""
        return ()

    def readers(self, pipe: Any) -> tuple[Reader, ...]:
        """Return who reads a prompt, and how much of it; none where there is no text."""
        return readers("CLIP", pipe.tokenizer)

    def call(self, pipe: Any) -> dict[str, Any]:
        """Return what the stock pipeline has to be told, besides prompt, steps and guidance, to read as we do."""
        return {}


def first_half(output: Tensor, like: Tensor) -> Tensor:
    """Return the mean of a backbone that predicts a variance too: the first half of the channels."""
    return output[:, : like.shape[1]]


def rows(value: Tensor, count: int) -> Tensor:
    """Return a tensor repeated for ``count`` prompts."""
    return value[None].expand(count, *value.shape).to(torch.float32)
