"""Frozen layers whose weights are kept in fewer bits."""

from collections.abc import Callable
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn import grad as transposed

from fewstep.sharing import copy_sharing

__all__ = ["Bits", "Kept", "keep"]

Bits = Literal["bfloat16", "int8"]
LARGEST = 127  # of int8, the same on both sides of 0
CONVOLUTIONS: dict[type[nn.Module], tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    nn.Conv1d: (F.conv1d, transposed.conv1d_input),
    nn.Conv2d: (F.conv2d, transposed.conv2d_input),
    nn.Conv3d: (F.conv3d, transposed.conv3d_input),
}
LAYERS = (nn.Linear, *CONVOLUTIONS)


class Kept(nn.Module):
    """A frozen linear layer or convolution whose W is bfloat16, or ``scale q`` with q in int8 and a scale per channel.

    It computes in the precision of x, or in that of autocast.  W is made for each call and again for its gradient;
    a graph keeps neither W nor x.  Has forward-mode derivatives.  ``scale = max |W| / 127``: off by half of it at most.
    *Ours*, not a library's: torchao's int8 refused a two-dimensional convolution on a CPU, and optimum-quanto's layers
    have no forward-mode derivatives; both were run.
    """

    def __init__(self, layer: nn.Module, bits: Bits) -> None:
        super().__init__()
        self.layer, self.scale = layer, None
        weight = cast(Tensor, layer.weight).detach()
        self.kind = weight.dtype
        if bits == "int8":
            highest = weight.abs().flatten(1).amax(1).reshape(-1, *(1 for _ in weight.shape[1:]))
            scale = torch.where(highest > 0, highest / LARGEST, 1.0)
            self.scale = nn.Parameter(scale, requires_grad=False)
            weight = (weight / scale).round()
        layer.weight = nn.Parameter(weight.to(torch.int8 if bits == "int8" else torch.bfloat16), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the layer says to x."""
        layer: Any = self.layer
        if not isinstance(layer, nn.Linear) and (layer.padding_mode != "zeros" or isinstance(layer.padding, str)):
            mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
            x = F.pad(x, layer._reversed_padding_repeated_twice, mode=mode)
        return cast(Tensor, _Through.apply(x, self))  # type: ignore[no-untyped-call]

    def wide(self, kind: torch.dtype) -> Tensor:
        """Return W in that precision."""
        weight = cast(Tensor, self.layer.weight)
        return weight.to(kind) if self.scale is None else (weight * self.scale).to(kind)

    def plain(self) -> nn.Module:
        """Return the layer that it stands for, with the weights it computes with, in their first precision."""
        layer = copy_sharing(self.layer, self.layer.parameters())
        layer.weight = nn.Parameter(self.wide(self.kind), requires_grad=False)
        return layer

    def answer(self, x: Tensor, biased: bool = True) -> Tensor:
        """Return W x, and the bias with it; the places around x are there already."""
        kind = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        layer: Any = self.layer
        bias = layer.bias.to(kind) if biased and layer.bias is not None else None
        if isinstance(layer, nn.Linear):
            return F.linear(x.to(kind), self.wide(kind), bias)
        convolve = CONVOLUTIONS[type(layer)][0]
        return convolve(x.to(kind), self.wide(kind), bias, **self._shape())

    def back(self, grad: Tensor, size: torch.Size) -> Tensor:
        """Return the transpose of W applied to a gradient, of that size."""
        layer: Any = self.layer
        if isinstance(layer, nn.Linear):
            return grad @ self.wide(grad.dtype)
        convolve = CONVOLUTIONS[type(layer)][1]
        return convolve(size, self.wide(grad.dtype), grad, **self._shape())

    def _shape(self) -> dict[str, Any]:
        layer: Any = self.layer
        ready = layer.padding_mode != "zeros" or isinstance(layer.padding, str)
        return {
            "stride": layer.stride,
            "padding": 0 if ready else layer.padding,
            "dilation": layer.dilation,
            "groups": layer.groups,
        }


class _Through(torch.autograd.Function):
    """The answer of a kept layer, linear in x: its derivatives need the layer only."""

    @staticmethod
    def forward(x: Tensor, kept: Kept) -> Tensor:
        return kept.answer(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Kept], output: Tensor) -> None:
        ctx.kept, ctx.size, ctx.kind = inputs[1], inputs[0].shape, inputs[0].dtype

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.kept.back(grad, ctx.size).to(ctx.kind), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return cast(Tensor, ctx.kept.answer(tangent, biased=False))


def keep(net: nn.Module, bits: Bits) -> nn.Module:
    """Return a frozen copy whose linear layers and convolutions are kept in so few bits; it shares nothing.

    A layer of a class that derives from these stays as it is: its forward may read the weights in another way.
    """
    layers = [module for module in net.modules() if type(module) in LAYERS and module is not net]
    kept = copy_sharing(net, [cast(nn.Parameter, layer.weight) for layer in layers])  # their copies are the small ones
    for name, module in list(kept.named_modules()):
        if type(module) in LAYERS and name:
            kept.set_submodule(name, Kept(module, bits))
    return kept.requires_grad_(False)
