"""One frozen teacher, and the adapters that make learners of it."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from fewstep.errors import WeightsError
from fewstep.model import Model
from fewstep.networks import Bits, Lora, LoraFile, add_lora, adopt_kept, digest_of, keep, own_state
from fewstep.sharing import shared_names

__all__ = ["Base"]


@dataclass(frozen=True)
class Base:
    """The teacher's network as it was ``given``, and as it is ``kept``: the same, or its weights in fewer ``bits``.

    Every learner with an adapter has modules of its own around the very parameters of ``kept``.  So nothing has to be
    switched between calls, and no graph, mode or recomputation can meet the adapter of another learner.
    """

    given: nn.Module
    kept: nn.Module
    bits: Bits | None = None

    @classmethod
    def of(cls, teacher: Model, bits: Bits | None) -> "Base":
        """Freeze the teacher and keep it so."""
        given = teacher.view.net.requires_grad_(False).eval()
        return cls(given, given if bits is None else keep(given, bits), bits)

    def adapted(self, net: nn.Module, lora: Lora) -> nn.Module:
        """Give a network on the parameters of ``given`` an adapter and those of ``kept``; return it."""
        return adopt_kept(add_lora(net, lora, self.given), self.kept)

    def file(self, net: nn.Module, lora: Lora) -> LoraFile:
        """Return what a learner's network adds to the base, ready to be saved."""
        name, parameter = next(self.kept.named_parameters())
        there = next(each for each, own in net.named_parameters() if own is parameter).replace(".base_layer.", ".")
        alpha = lora.scale * lora.rank
        tensors = own_state(net, shared_names(net, self.kept))
        return LoraFile(tensors, digest_of(self.given), lora.rank, alpha, there.removesuffix(name), self.bits)

    def begin(self, net: nn.Module, lora: Lora) -> None:
        """Fill a learner's network from the file that its adapter begins with, if there is one.

        Raises ``WeightsError`` when it cannot be read, or was made on another base or for another adapter.
        """
        if lora.file is None:
            return
        path, own = Path(lora.file), own_state(net, shared_names(net, self.kept))
        file = LoraFile.read(path)
        file.refuse_other(self.given, path)
        here, there = ({name: list(each.shape) for name, each in some.items()} for some in (own, file.tensors))
        if here != there or (file.alpha, file.bits) != (lora.scale * lora.rank, self.bits):
            differ = sorted(name for name in {*here, *there} if here.get(name) != there.get(name))
            raise WeightsError(
                f"{path} is an adapter of rank {file.rank} and alpha {file.alpha:g} on a base kept in "
                f"{file.bits or 'full precision'}; asked for were rank {lora.rank}, alpha {lora.scale * lora.rank:g} "
                f"and {self.bits or 'full precision'}; tensors that differ: {differ[:3]}. Give the learner the "
                "settings of the run that wrote it, or leave 'file' out."
            )
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(file.tensors[name])
