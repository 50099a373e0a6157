"""DiT: a transformer told a class."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from fewstep.errors import DataError
from fewstep.interop.families.base import Family, first_half
from fewstep.interop.readers import Reader

__all__ = ["DiT"]


class DiT(Family):
    """DiT with classes.  Source: arXiv 2212.09748."""

    PIPELINES = ("DiTPipeline",)
    MODEL = "DiTTransformer2DModel"
    KEYS = "transformer_blocks.{}.attn1"
    GUIDANCE = 4.0

    def told(self, pipe: Any, prompts: Sequence[str], size: tuple[int, int]) -> dict[str, Tensor]:
        """Refuse: it reads no text."""
        raise DataError("This pipeline is told a class, not a prompt. Give a class of it (--label).")

    def empty(self, pipe: Any, size: tuple[int, int]) -> dict[str, Tensor]:
        """Return nothing: no class is a class of its own."""
        return {}

    def ask(self, net: Any, x: Tensor, time: Tensor, told: Mapping[str, Tensor], scale: Tensor | None) -> Tensor:
        """Ask the transformer; no class (-1) is the one after the last."""
        none = net.config.num_embeds_ada_norm
        label = told["label"]
        output: Tensor = net(x, timestep=time, class_labels=label.where(label >= 0, none), return_dict=False)[0]
        return first_half(output, x)

    def classes(self, pipe: Any) -> tuple[str, ...]:
        """Return the pipeline's names of the classes, synonyms side by side; their numbers where it has none."""
        names: dict[int, list[str]] = {}
        for name, label in pipe.labels.items():
            names.setdefault(label, []).append(name)
        count = pipe.transformer.config.num_embeds_ada_norm
        return tuple(", ".join(names.get(label, [str(label)])) for label in range(count))

    def readers(self, pipe: Any) -> tuple[Reader, ...]:
        """Return nobody."""
        return ()
