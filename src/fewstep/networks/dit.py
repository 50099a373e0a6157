"""A diffusion transformer for images of any size that its patches divide."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from fewstep.errors import RecipeError
from fewstep.networks.embed import Context, features_of

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

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map tokens (b, n, width) to the same shape."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulate(embedding)[:, None].chunk(6, -1)
        x = x + gate1 * self._attend(torch.addcmul(shift1, self.norm1(x), 1 + scale1))
        return x + gate2 * self.feed(torch.addcmul(shift2, self.norm2(x), 1 + scale2))  # type: ignore[no-any-return]

    def _attend(self, x: Tensor) -> Tensor:
        b, n, width = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return self.out(scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, width))  # type: ignore[no-any-return]


class DiT(nn.Module):
    """``net(x, label, c, label_s=None, scale=None)`` with x (b, channels, h, w); ``patch`` divides h and w.

    ``width`` comes in heads of 32; with ``second_time`` the label of the end of a jump is a further
    input, with ``scale`` a guidance scale; ``condition`` is the shape of one condition that is no label: (features,);
    ``perturb`` is how far the embedding of a condition is perturbed in training, as ``Perturb`` takes it.
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
    ) -> None:
        super().__init__()
        if width % 32:
            raise RecipeError(f"a DiT of width {width}; accepted are multiples of 32, the width of one head.")
        features = features_of(condition, "a DiT")
        self.patch, self.context = patch, Context(width, classes, features, second_time, scale, perturb)
        self.first = nn.Conv2d(channels, width, patch, stride=patch)
        self.layers = nn.ModuleList(Layer(width, width // 32) for _ in range(depth))
        self.norm, self.modulate = nn.LayerNorm(width, elementwise_affine=False), nn.Linear(width, 2 * width)
        self.last = nn.Linear(width, channels * patch**2)
        for layer in (self.modulate, self.last):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

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
        grid, tokens = h.shape[2:], h.flatten(2).transpose(1, 2) + _positions(h)
        for layer in self.layers:
            tokens = layer(tokens, embedding)
        shift, scale = self.modulate(embedding)[:, None].chunk(2, -1)
        pixels = self.last(torch.addcmul(shift, self.norm(tokens), 1 + scale)).transpose(1, 2)
        return nn.functional.pixel_shuffle(pixels.reshape(len(x), -1, *grid), self.patch)


def _positions(h: Tensor) -> Tensor:
    """Return sines and cosines of the row and the column of each token, (1, tokens, width)."""
    _, width, rows, columns = h.shape
    rates = 10000 ** -torch.arange(0, 1, 4 / width, device=h.device, dtype=h.dtype)
    row, column = (torch.arange(n, device=h.device, dtype=h.dtype)[:, None] * rates for n in (rows, columns))
    parts = [
        part[:, None].expand(-1, columns, -1) if along else part[None].expand(rows, -1, -1)
        for angle, along in ((row, True), (column, False))
        for part in (angle.sin(), angle.cos())
    ]
    return torch.cat(parts, -1).reshape(1, rows * columns, width)
