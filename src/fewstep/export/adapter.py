"""What a student with an adapter adds to its base: A and B of each layer, with nothing left to multiply by."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from fewstep.errors import WeightsError
from fewstep.networks import LoraFile
from fewstep.networks.lora import NAME

__all__ = ["Adapter"]

INSIDE = "backbone."  # what names begin with in a Bridge
DOWN, UP = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True)
class Adapter:
    """Layers of a backbone and what is added to their weights: ``B A``, by the names of the layers, sorted.

    The factor ``alpha / rank`` is folded into B, so that a reader who knows of no alpha, and takes it for the rank,
    is right.  ``rank`` is that of every layer.
    """

    layers: Mapping[str, tuple[Tensor, Tensor]]
    rank: int

    @classmethod
    def of_file(cls, file: LoraFile, base: nn.Module) -> "Adapter":
        """Return that of a finished run on ``base``.  Raises ``WeightsError`` when more than an adapter was trained."""
        inside, state = file.inside + INSIDE, base.state_dict()
        downs = {name.removesuffix(DOWN) for name in file.tensors if name.endswith(DOWN)}
        known = {layer + side for layer in downs for side in (DOWN, UP)}
        known |= {file.inside + name for name, tensor in state.items() if _kept(file, name, tensor)}
        if more := sorted(set(file.tensors) - known):
            raise WeightsError(
                f"The student learned more than its adapter: {', '.join(more[:3])}{' ...' * (len(more) > 3)}. A LoRA "
                "file has no place for that. Export it with --form folder."
            )
        if strange := sorted(layer for layer in downs if not layer.startswith(inside)):
            raise WeightsError(
                f"The adapter has layers outside the pipeline's own network, such as {strange[0]}, which no reader of "
                "LoRA files knows. Export with --form folder."
            )
        factor = file.alpha / file.rank
        layers = {
            layer.removeprefix(inside): (_plain(file.tensors[layer + DOWN]), _plain(file.tensors[layer + UP] * factor))
            for layer in sorted(downs)
        }
        return cls(layers, file.rank)

    @classmethod
    def of_network(cls, net: nn.Module) -> "Adapter | None":
        """Return that of a bridge in memory, None when there is none.  ``merged`` is its network without."""
        side = f".lora_A.{NAME}"
        names = sorted(name.removesuffix(side) for name, _ in net.named_modules() if name.endswith(side))
        layers: dict[str, tuple[Tensor, Tensor]] = {}
        for name in names:
            down, up = (net.get_parameter(f"{name}.{each}.{NAME}.weight") for each in ("lora_A", "lora_B"))
            factor = net.get_submodule(name).scaling[NAME]  # type: ignore[index]
            layers[name.removeprefix(INSIDE)] = (_plain(down), _plain(up * factor))
        return cls(layers, len(next(iter(layers.values()))[0])) if layers else None

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """Return the content of ``pytorch_lora_weights.safetensors``: one key style, that of peft."""
        return {
            f"{prefix}.{name}{side}": tensor
            for name, pair in self.layers.items()
            for side, tensor in zip((DOWN, UP), pair, strict=True)
        }

    def metadata(self, prefix: str) -> dict[str, str]:
        """Return what diffusers reads beside the tensors: peft's settings, each name with the component before it."""
        from peft import LoraConfig

        settings = LoraConfig(r=self.rank, lora_alpha=self.rank, target_modules=list(self.layers)).to_dict()
        words = {f"{prefix}.{key}": list(v) if isinstance(v, set) else v for key, v in settings.items()}
        words[f"{prefix}.target_modules"] = list(self.layers)
        return {"format": "pt", "lora_adapter_metadata": json.dumps(words, indent=2, sort_keys=True, default=str)}


def _kept(file: LoraFile, name: str, tensor: Tensor) -> bool:
    """Say whether the file holds a tensor of the base as it was: buffers travel with a learner."""
    own = file.tensors.get(file.inside + name)
    return own is not None and own.equal(tensor.cpu())


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous()
