"""A small U-Net for images of any size that its levels divide."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, scaled_dot_product_attention

from fewstep.errors import RecipeError
from fewstep.networks.embed import ConditionEmbedding, TimeEmbedding

__all__ = ["UNet"]


class Block(nn.Module):
    """Two convolutions with a residual path; the embedding scales and shifts between them."""

    def __init__(self, inside: int, outside: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, inside), nn.GroupNorm(8, outside)
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1)
        self.modulate = nn.Linear(embedding, 2 * outside)
        self.skip = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()
        self.activate, self.dropout = nn.SiLU(), nn.Dropout(dropout)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map (b, inside, h, w) to (b, outside, h, w)."""
        scale, shift = self.modulate(embedding)[:, :, None, None].chunk(2, 1)
        h = self.conv1(self.activate(self.norm1(x)))
        h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        return self.skip(x) + self.conv2(self.dropout(self.activate(h)))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Self-attention over the pixels, with a residual path."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norm = heads, nn.GroupNorm(8, width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, width, h, w) to the same shape."""
        b, width, h, w = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).reshape(b, h * w, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = self.out(scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, h * w, width))
        return x + mixed.transpose(1, 2).reshape(x.shape)  # type: ignore[no-any-return]


class Middle(nn.Module):
    """The bottom of the U: where the whole image is seen at once, and where a critic borrows its features."""

    def __init__(self, width: int, embedding: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.block = Block(width, width, embedding, dropout)
        self.attention = Attention(width, heads)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map (b, width, h, w) to the same shape."""
        return self.attention(self.block(x, embedding))  # type: ignore[no-any-return]


class UNet(nn.Module):
    """``net(x, label, c, label_s=None)`` with x (b, channels, h, w); h and w divisible by 2^(levels - 1).

    ``widths`` are the channels of each level, ``depth`` the blocks per level on the way down and up.
    With ``second_time`` the label of the end of a jump is a further input, whose embedding starts at zero so that a
    teacher's weights keep their meaning.  Raises ``RecipeError`` for widths that 8 does not divide, and
    for images that its levels do not divide.
    """

    def __init__(
        self,
        channels: int = 3,
        classes: int = 0,
        widths: Sequence[int] = (32, 64),
        depth: int = 1,
        dropout: float = 0.0,
        second_time: bool = False,
    ) -> None:
        super().__init__()
        if not widths or any(width % 8 for width in widths):
            raise RecipeError(f"the widths of a U-Net are {list(widths)}; accepted are multiples of 8, one a level.")
        embedding = 4 * widths[0]
        self.time, self.condition = TimeEmbedding(embedding), ConditionEmbedding(embedding, classes)
        self.until = TimeEmbedding(embedding, silent=True) if second_time else None
        self.first = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        last, skips = widths[0], [widths[0]]
        for width in widths:
            for _ in range(depth):
                self.down.append(Block(last, width, embedding, dropout))
                skips.append(last := width)
        self.middle = Middle(last, embedding, max(1, last // 32), dropout)
        for width in reversed(widths):
            for _ in range(depth):
                self.up.append(Block(last + skips.pop(), width, embedding, dropout))
                last = width
        inside = last + widths[0]
        last_layer = nn.Conv2d(inside, channels, 3, padding=1)
        self.last = nn.Sequential(nn.GroupNorm(8, inside), nn.SiLU(), last_layer)
        self.depth, self.levels = depth, len(widths)
        nn.init.zeros_(last_layer.weight)

    def forward(self, x: Tensor, label: Tensor, c: Tensor | None = None, label_s: Tensor | None = None) -> Tensor:
        """Return F(x), the shape of x."""
        if x.shape[2] % 2 ** (self.levels - 1) or x.shape[3] % 2 ** (self.levels - 1):
            raise RecipeError(
                f"images of {x.shape[2]} x {x.shape[3]} px cannot be halved {self.levels - 1} times, as a U-Net of "
                f"{self.levels} levels does; give fewer widths or another --size."
            )
        embedding = self.time(label)
        if self.until is not None and label_s is not None:
            embedding = embedding + self.until(label_s)
        embedding = nn.functional.silu(embedding + self.condition(c, embedding))
        h = self.first(x)
        skips = [h]
        for i, block in enumerate(self.down):
            if i and i % self.depth == 0:
                h = avg_pool2d(h, 2)
            skips.append(h := block(h, embedding))
        h = self.middle(h, embedding)
        for i, block in enumerate(self.up):
            if i and i % self.depth == 0:
                h = interpolate(h, scale_factor=2.0)
            h = block(torch.cat([h, skips.pop()], 1), embedding)
        return self.last(torch.cat([h, skips.pop()], 1))  # type: ignore[no-any-return]
