"""What an adapter adds to its base, as a file of its own."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from fewstep.errors import WeightsError
from fewstep.networks.kept import Bits, keep
from fewstep.networks.lora import NAME, low_rank, merged
from fewstep.training import read_weights, weights_bytes

__all__ = ["LORA", "LoraFile", "digest_of", "own_state"]

LORA = "lora.safetensors"
A, B = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True)
class LoraFile:
    """An adapter apart from its base: A and B of each layer under its name, and what else a learner has of its own.

    ``base`` is the digest of the base's weights, ``bits`` how they were kept meanwhile; ``inside`` is what their names
    begin with in the learner's network; B A is multiplied by ``alpha / rank``.
    """

    tensors: Mapping[str, Tensor]
    base: str
    rank: int
    alpha: float
    inside: str = ""
    bits: Bits | None = None

    @classmethod
    def read(cls, path: Path) -> "LoraFile":
        """Read what ``content`` made; raise ``WeightsError`` for a file that is missing, damaged or something else."""
        if not path.is_file():
            raise WeightsError(f"There is no file {path}; give the {LORA} that a run with lora has written.")
        try:
            with safe_open(path, "pt") as opened:
                about = json.loads((opened.metadata() or {})["fewstep"])
            return cls(read_weights(path), **about)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"{path} is no adapter of fewstep ({error!r}); give the {LORA} of a run.") from error

    def content(self) -> bytes:
        """Return the safetensors file."""
        about = {key: value for key, value in vars(self).items() if key != "tensors"}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        return save(tensors, {"format": "pt", "fewstep": json.dumps(about)})

    def refuse_other(self, base: nn.Module, path: Path) -> None:
        """Raise ``WeightsError`` when it was made on another base than this one."""
        if (there := digest_of(base)) != self.base:
            raise WeightsError(
                f"{path} is an adapter on a base with the weights {self.base}; the model that was given has {there}. "
                "On other weights it would say something else. Give the model that it was made on: the teacher of its "
                "run, as plan.json beside it names it."
            )

    def onto(self, base: nn.Module) -> dict[str, Tensor]:
        """Return all weights of the network that the adapter makes of its base."""
        frozen = base if self.bits is None else merged(keep(base, self.bits))
        whole = {self.inside + name: tensor for name, tensor in frozen.state_dict().items()}
        for name, tensor in self.tensors.items():
            if name.endswith(A):
                layer = name.removesuffix(A)
                change = low_rank(tensor, self.tensors[layer + B], self.alpha / self.rank)
                whole[f"{layer}.weight"] = whole[f"{layer}.weight"] + change.to(whole[f"{layer}.weight"])
            elif not name.endswith(B):
                whole[name] = tensor
        return whole


def own_state(net: nn.Module, shared: Collection[str]) -> dict[str, Tensor]:
    """Return the tensors that a network with an adapter does not share, by their names in a file."""
    state = net.state_dict()
    return {name.replace(f".{NAME}.", "."): tensor for name, tensor in state.items() if name not in shared}


def digest_of(net: nn.Module) -> str:
    """Return 16 hexadecimal digits that change with any weight."""
    return sha256(weights_bytes(net)).hexdigest()[:16]
