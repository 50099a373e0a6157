"""Low-rank adapters on a frozen network, which several of them share."""

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from fewstep.errors import MissingExtra, RecipeError, nearest
from fewstep.networks.kept import Kept
from fewstep.sharing import copy_sharing, tie

__all__ = ["Lora", "add_lora", "adopt_kept", "low_rank", "merged"]

NAME = "default"  # of the one adapter that a network holds, as peft calls it
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Lora:
    """A low-rank adapter: layers answer ``W x + alpha / rank B A x``, where only A and B learn.

    ``targets`` are regular expressions, one of which must be found in the name of a layer; every linear layer and
    every convolution without.  ``alpha`` is the rank unless given.  ``file`` is one that a run with the same adapter
    on the same base has written (``lora.safetensors``), to begin with; without, A is random and B zero.
    Raises ``RecipeError`` for a rank below 1, an alpha that is not above 0, and targets that are no expressions.
    Source: LoRA, arXiv 2106.09685, section 4.1.
    """

    SOURCE: ClassVar[str] = "arXiv 2106.09685"

    rank: int = 8  # as peft
    targets: tuple[str, ...] = ()
    alpha: float | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        if self.rank < 1 or self.scale <= 0:
            raise RecipeError(
                f"lora has rank {self.rank} and alpha {self.alpha}; accepted are a rank of 1 or more and an alpha "
                "above 0, or none for that of the rank. Give other numbers."
            )
        for target in self.targets:
            try:
                re.compile(target)
            except re.error as error:
                raise RecipeError(
                    f"the target {target!r} of lora is no regular expression ({error}); accepted is one that is found "
                    "in names of layers, for example ^down or conv1$. Mend it."
                ) from error

    @property
    def scale(self) -> float:
        """What B A is multiplied by."""
        return (self.rank if self.alpha is None else self.alpha) / self.rank


def add_lora(net: nn.Module, lora: Lora, base: nn.Module) -> nn.Module:
    """Put A and B beside the layers that the adapter names, in place; return the network.

    Only layers with a weight of ``base`` are meant: what a learner owns learns as it is.
    Raises ``RecipeError`` for a target that is found in no name, and ``MissingExtra`` without the library.
    """
    names = _targets(net, lora, base)
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingExtra(
            f"lora needs the library peft, which cannot be imported ({error}): pip install 'fewstep[lora]'"
        ) from error
    alpha = lora.rank if lora.alpha is None else lora.alpha
    exactly = "|".join(map(re.escape, names))
    inject_adapter_in_model(LoraConfig(r=lora.rank, lora_alpha=alpha, target_modules=exactly), net, NAME)
    vars(net).pop("peft_config", None)  # kept there for callers who add and switch adapters; here there is one
    for name in names:
        for side in ("lora_A", "lora_B"):
            layer = net.get_submodule(f"{name}.{side}.{NAME}")
            layer.weight.data = layer.weight.data.to(
                torch.promote_types(cast(Tensor, layer.weight).dtype, torch.float32)
            )
    return net


def adopt_kept(net: nn.Module, base: nn.Module) -> nn.Module:
    """Put the parameters of ``base``, and the layers that it keeps in fewer bits, in the places of those of the same
    names; return the network."""
    parts = {name for name, _ in tie(net, base).named_modules()}
    for name, module in base.named_modules():
        inner = f"{name}.base_layer" if f"{name}.base_layer" in parts else name
        if isinstance(module, Kept) and inner in parts:
            net.set_submodule(inner, copy_sharing(module, module.parameters()))
    return net


def merged(net: nn.Module) -> nn.Module:
    """Return a copy, on parameters of its own, with plain layers of weights ``W + alpha / rank B A``.

    In the precision of the network that was given, where W is kept in fewer bits.
    """
    plain = copy.deepcopy(net)
    with torch.no_grad():
        for name, layer in list(_adapted(plain)):
            whole = _plain(layer.base_layer)
            change = low_rank(layer.lora_A[NAME].weight, layer.lora_B[NAME].weight, layer.scaling[NAME])
            whole.weight = nn.Parameter((whole.weight + change).to(whole.weight.dtype), requires_grad=False)
            plain.set_submodule(name, whole)
    for name, module in list(plain.named_modules()):
        if isinstance(module, Kept):
            plain.set_submodule(name, module.plain())
    return plain


def low_rank(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """Return ``scale B A``: (out, in) for matrices, (out, in, *kernel) for kernels."""
    return scale * (b.flatten(1) @ a.flatten(1)).reshape(len(b), *a.shape[1:])


def _plain(layer: nn.Module) -> Any:
    return layer.plain() if isinstance(layer, Kept) else copy_sharing(layer, layer.parameters())


def _adapted(net: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the layers with an A and a B, by the names of what they stand for."""
    suffix = f".lora_A.{NAME}"
    for name, _ in net.named_modules():
        if name.endswith(suffix):
            yield name.removesuffix(suffix), net.get_submodule(name.removesuffix(suffix))


def _targets(net: nn.Module, lora: Lora, base: nn.Module) -> list[str]:
    """Return the names of the layers that the adapter means."""
    theirs = {id(parameter) for parameter in base.parameters()}
    layers = {name: layer for name, layer in net.named_modules() if id(_weight(layer)) in theirs and name}
    fit = [name for name, layer in layers.items() if _fits(layer)]
    for target in lora.targets:
        if not any(re.search(target, name) for name in fit):
            _refuse(target, layers, fit)
    chosen = [name for name in fit if not lora.targets or any(re.search(each, name) for each in lora.targets)]
    if not chosen:
        raise RecipeError("lora was given to a network without linear layers and convolutions; leave it out.")
    return chosen


def _refuse(target: str, layers: Mapping[str, nn.Module], fit: Sequence[str]) -> None:
    """Raise for a target that no layer fits; name the ones that are most like it."""
    found = next((name for name in layers if re.search(target, name)), None)
    other = "" if found is None else f", only in {found!r}, a {type(layers[found]).__name__}"
    plain = re.sub(r"[^\w.]", "", target)
    parts = {name[:end] for name in fit for end in (i for i, letter in enumerate(f"{name}.") if letter == ".")}
    like = get_close_matches(plain, parts, n=8, cutoff=0.3) or fit[:8]
    raise RecipeError(
        f"the target {target!r} of lora is found in the name of no layer that can have an adapter{other}. Accepted are "
        f"linear layers, and convolutions without groups, dilation and padding mode; {nearest(plain, like)}"
    )


def _weight(layer: nn.Module) -> nn.Parameter | None:
    return dict(layer.named_parameters(recurse=False)).get("weight")


def _fits(layer: nn.Module) -> bool:
    """Say whether B A beside the layer is the same as a change of its weight."""
    if type(layer) in CONVOLUTIONS:
        convolution: Any = layer
        return bool(convolution.groups == 1 == max(convolution.dilation) and convolution.padding_mode == "zeros")
    return type(layer) is nn.Linear  # a class that derives from it, as in nn.MultiheadAttention, may never be called
