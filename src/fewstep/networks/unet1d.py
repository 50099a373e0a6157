"""A small U-Net for signals: log-mels whose bands are channels, or waveforms folded into patches."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d, interpolate

from fewstep.errors import RecipeError
from fewstep.networks.embed import Context

__all__ = ["UNet1D"]


class Block(nn.Module):
    """Two convolutions along the signal with a residual path; the embedding scales and shifts between them."""

    def __init__(self, inside: int, outside: int, embedding: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, inside), nn.GroupNorm(8, outside)
        self.conv1 = nn.Conv1d(inside, outside, 3, padding=1)
        self.conv2 = nn.Conv1d(outside, outside, 3, padding=1)
        self.modulate = nn.Linear(embedding, 2 * outside)
        self.skip = nn.Conv1d(inside, outside, 1) if inside != outside else nn.Identity()
        self.activate = nn.SiLU()
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map (b, inside, length) to (b, outside, length)."""
        scale, shift = self.modulate(embedding)[:, :, None].chunk(2, 1)
        h = self.conv1(self.activate(self.norm1(x)))
        h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        return self.skip(x) + self.conv2(self.activate(h))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Self-attention over the places of a signal, written out: the fused kernel has no forward-mode derivative."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norm = heads, nn.GroupNorm(8, width)
        self.qkv, self.out = nn.Conv1d(width, 3 * width, 1), nn.Conv1d(width, width, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, width, length) to the same shape."""
        b, width, length = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(b, 3, self.heads, width // self.heads, length).unbind(1)
        shares = (q.transpose(2, 3) @ k * (width // self.heads) ** -0.5).softmax(-1)
        return x + self.out((v @ shares.transpose(2, 3)).reshape(x.shape))  # type: ignore[no-any-return]


class Middle(nn.Module):
    """The bottom of the U: where the whole signal is seen at once, and where a critic borrows its features."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.block, self.attention = Block(width, width, embedding), Attention(width, max(1, width // 32))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map (b, width, length) to the same shape."""
        return self.attention(self.block(x, embedding))  # type: ignore[no-any-return]


class UNet1D(nn.Module):
    """``net(x, label, c, label_s=None, scale=None)`` with x (b, channels, length).

    ``condition`` is the shape of one condition: () for none, (features,) for vectors, (bands, frames) for a map along
    the signal, which is stretched to its length and added to the input, and whose mean is taken as a vector beside.
    Vectors and maps of zeros, and None, are "no condition".  ``widths`` are the channels of each level.  ``fold``
    samples in a row become channels of one place, so that the network is that much shorter.  ``second_time`` and
    ``scale`` are further inputs that start silent, as those of ``UNet``.  Has forward-mode derivatives.

    The output is ``value + gate * x``, both of every place and channel: so a network that is narrower than a log-mel
    has bands can still pass noise on, or cancel it.

    Raises ``RecipeError`` for widths that 8 does not divide, for a condition of more axes and for class labels, and for
    lengths that ``fold * 2^(levels - 1)`` does not divide.
    """

    def __init__(
        self,
        channels: int = 1,
        condition: Sequence[int] = (),
        widths: Sequence[int] = (64, 96),
        fold: int = 1,
        second_time: bool = False,
        scale: bool = False,
    ) -> None:
        super().__init__()
        _refuse(widths, condition)
        embedding, features = 4 * widths[0], condition[0] if condition else 0
        self.context = Context(embedding, 0, features, second_time, scale)
        self.first = nn.Conv1d(channels * fold, widths[0], 3, padding=1)
        self.map = nn.Conv1d(condition[0], widths[0], 3, padding=1, bias=False) if len(condition) == 2 else None
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        last, skips = widths[0], [widths[0]]
        for width in widths:
            self.down.append(Block(last, width, embedding))
            skips.append(last := width)
        self.middle = Middle(last, embedding)
        for width in reversed(widths):
            self.up.append(Block(last + skips.pop(), width, embedding))
            last = width
        inside = last + widths[0]
        last_layer = nn.Conv1d(inside, 2 * channels * fold, 3, padding=1)
        self.last = nn.Sequential(nn.GroupNorm(8, inside), nn.SiLU(), last_layer)
        self.fold, self.shortest = fold, fold * 2 ** (len(widths) - 1)
        nn.init.zeros_(last_layer.weight)

    def forward(
        self,
        x: Tensor,
        label: Tensor,
        c: Tensor | None = None,
        label_s: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Tensor:
        """Return F(x), the shape of x."""
        if x.shape[2] % self.shortest:
            raise RecipeError(
                f"signals of length {x.shape[2]} do not divide into patches and levels of {self.shortest} in all; give "
                "fewer widths or another fold."
            )
        if c is not None and not c.is_floating_point():
            raise RecipeError(
                "class labels were given to a 1-D U-Net, which takes vectors or maps; give one-hot vectors."
            )
        whole = c if c is None or self.map is None else c.mean(2)
        embedding = self.context(label, whole, label_s, scale)
        folded = _folded(x, self.fold)
        h = self.first(folded)
        if self.map is not None and c is not None:
            h = h + interpolate(self.map(c), size=h.shape[2])
        skips = [h]
        for i, block in enumerate(self.down):
            skips.append(h := block(avg_pool1d(h, 2) if i else h, embedding))
        h = self.middle(h, embedding)
        for i, block in enumerate(self.up):
            h = interpolate(h, scale_factor=2.0) if i else h
            h = block(torch.cat([h, skips.pop()], 1), embedding)
        value, gate = self.last(torch.cat([h, skips.pop()], 1)).chunk(2, 1)
        return _unfolded(torch.addcmul(value, gate, folded), self.fold)


def _refuse(widths: Sequence[int], condition: Sequence[int]) -> None:
    if not widths or any(width % 8 for width in widths):
        raise RecipeError(f"the widths of a U-Net are {list(widths)}; accepted are multiples of 8, one a level.")
    if len(condition) > 2:
        raise RecipeError(
            f"the condition of a 1-D U-Net has the shape {list(condition)}; accepted are [] for none, [features] for "
            "vectors and [bands, frames] for maps along the signal."
        )


def _folded(x: Tensor, fold: int) -> Tensor:
    """Put ``fold`` samples in a row into the channels: (b, channels, length) to (b, channels fold, length / fold)."""
    b, channels, length = x.shape
    return x.reshape(b, channels, length // fold, fold).transpose(2, 3).reshape(b, channels * fold, length // fold)


def _unfolded(x: Tensor, fold: int) -> Tensor:
    b, channels, length = x.shape
    return x.reshape(b, channels // fold, fold, length).transpose(2, 3).reshape(b, channels // fold, length * fold)
