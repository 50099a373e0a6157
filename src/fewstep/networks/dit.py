"""A diffusion transformer for images of any size that its patches divide."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from fewstep.errors import RecipeError
from fewstep.networks.embed import Context, features_of
from fewstep.networks.pool import token_pools
from fewstep.tapped import standing

__all__ = ["DiT"]


class Layer(nn.Module):
    """Attention and a feed-forward part, each modulated by the embedding with gates that start at 0."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))
        self.modulate = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(self, x: Tensor, embedding: Tensor, pool: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Map tokens (b, n, width) to the same shape; ``pool`` makes fewer keys and values of all."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulate(embedding)[:, None].chunk(6, -1)
        x = x + gate1 * self._attend(torch.addcmul(shift1, self.norm1(x), 1 + scale1), pool)
        return x + gate2 * self.feed(torch.addcmul(shift2, self.norm2(x), 1 + scale2))  # type: ignore[no-any-return]

    def _attend(self, x: Tensor, pool: Callable[[Tensor], Tensor] | None) -> Tensor:
        b, n, width = x.shape
        query, *told = self.qkv(x).chunk(3, -1)
        told = told if pool is None else [pool(each) for each in told]
        q, k, v = (each.unflatten(2, (self.heads, -1)).transpose(1, 2) for each in (query, *told))
        return self.out(scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, width))  # type: ignore[no-any-return]


class DiT(nn.Module):
    """``net(x, label, c, label_s=None, scale=None)`` with x (b, channels, h, w); ``patch`` divides h and w.

    ``width`` comes in heads of 32; with ``second_time`` the label of the end of a jump is a further
    input, with ``scale`` a guidance scale; ``condition`` is the shape of one condition that is no label: (features,);
    ``perturb`` is how far the embedding of a condition is perturbed in training, as ``Perturb`` takes it.
    ``kv_stride`` r pools keys and values over cells of r x r tokens, in ``kv_layers`` (the deep half by default), with
    ``kv_norm`` behind it (see ``TokenPool``); a trained network without has the weights for it.
    Row or column i of n has the position ``i / (n / base) / interp``, with ``base`` by default n: i / interp.  So a
    network goes on at another resolution where it is: at twice the tokens a side with the same base, or interp: 2.
    Source: Peebles and Xie 2022, arXiv 2212.09748 (adaLN-zero, fixed sine-cosine positions).
    Raises ``RecipeError`` for a width that 32 does not divide, and for images that ``patch`` does not divide,
    and for conditions that are no vectors.
    """

    def __init__(
        self,
        channels: int = 3,
        classes: int = 0,
        patch: int = 2,
        width: int = 128,
        depth: int = 4,
        second_time: bool = False,
        scale: bool = False,
        condition: Sequence[int] = (),
        perturb: float | Mapping[str, float] = 0.0,
        kv_stride: int = 1,
        kv_layers: Sequence[int] | None = None,
        kv_norm: bool = False,
        base: int | None = None,
        interp: float = 1.0,
    ) -> None:
        super().__init__()
        if width % 32:
            raise RecipeError(f"a DiT of width {width}; accepted are multiples of 32, the width of one head.")
        if not (interp > 0 and (base is None or base > 0)):
            raise RecipeError(f"positions are stretched to base: {base} over interp: {interp}; give numbers above 0.")
        features = features_of(condition, "a DiT")
        self.patch, self.context = patch, Context(width, classes, features, second_time, scale, perturb)
        self.first = nn.Conv2d(channels, width, patch, stride=patch)
        self.layers = nn.ModuleList(Layer(width, width // 32) for _ in range(depth))
        self.pools, self.stretch = token_pools(width, depth, kv_stride, kv_layers, kv_norm), (base, interp)
        self.norm, self.modulate = nn.LayerNorm(width, elementwise_affine=False), nn.Linear(width, 2 * width)
        self.last = nn.Linear(width, channels * patch**2)
        for layer in (self.modulate, self.last):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    @property
    def in_tokens(self) -> bool:
        """Yes: its layers say (b, tokens, width)."""
        return True

    def part(self, name: str) -> str:
        """Return the layer at that place of a U-Net."""
        return standing(name, [[f"layers.{i}" for i in range(len(self.layers))]])

    def forward(
        self,
        x: Tensor,
        label: Tensor,
        c: Tensor | None = None,
        label_s: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Tensor:
        """Return F(x), the shape of x."""
        embedding = self.context(label, c, label_s, scale)
        if x.shape[2] % self.patch or x.shape[3] % self.patch:
            raise RecipeError(f"images of {x.shape[2]} x {x.shape[3]} px do not divide into patches of {self.patch}.")
        h = self.first(x)
        grid, tokens = h.shape[2:], h.flatten(2).transpose(1, 2) + _positions(h, *self.stretch)
        pools = {name: partial(pool, grid=grid) for name, pool in self.pools.items()}
        for i, layer in enumerate(self.layers):
            tokens = layer(tokens, embedding, pools.get(str(i)))
        shift, scale = self.modulate(embedding)[:, None].chunk(2, -1)
        pixels = self.last(torch.addcmul(shift, self.norm(tokens), 1 + scale)).transpose(1, 2)
        return nn.functional.pixel_shuffle(pixels.reshape(len(x), -1, *grid), self.patch)


def _positions(h: Tensor, base: int | None, interp: float) -> Tensor:
    """Return sines and cosines of the row and the column of each token, (1, tokens, width).

    Source: PixArt-Sigma, arXiv 2403.04692 (its code), for ``i / (n / base) / interp``.
    """
    _, width, rows, columns = h.shape
    rates = 10000 ** -torch.arange(0, 1, 4 / width, device=h.device, dtype=h.dtype)
    places = (torch.arange(n, device=h.device, dtype=h.dtype) / (n / (base or n)) / interp for n in (rows, columns))
    row, column = (place[:, None] * rates for place in places)
    parts = [
        part[:, None].expand(-1, columns, -1) if along else part[None].expand(rows, -1, -1)
        for angle, along in ((row, True), (column, False))
        for part in (angle.sin(), angle.cos())
    ]
    return torch.cat(parts, -1).reshape(1, rows * columns, width)
