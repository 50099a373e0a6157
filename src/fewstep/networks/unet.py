"""A small U-Net for images of any size that its levels divide, and for clips of them."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, scaled_dot_product_attention

from fewstep.errors import RecipeError
from fewstep.networks.embed import Context, features_of

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


class Motion(nn.Module):
    """Two convolutions over the frames of a clip, place by place, with a residual path that starts silent."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, width), nn.GroupNorm(8, width)
        self.conv1 = nn.Conv2d(width, width, (3, 1), padding=(1, 0))
        self.conv2 = nn.Conv2d(width, width, (3, 1), padding=(1, 0))
        self.modulate, self.activate = nn.Linear(embedding, 2 * width), nn.SiLU()
        for parameter in self.conv2.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map (b * frames, width, h, w) to the same shape, with one embedding per clip, (b, ...)."""
        places = x.shape[2] * x.shape[3]
        clips = x.reshape(len(embedding), -1, x.shape[1], places).transpose(1, 2)  # (b, width, frames, places)
        scale, shift = self.modulate(embedding)[:, :, None, None].chunk(2, 1)
        h = self.conv1(self.activate(self.norm1(clips)))
        h = self.conv2(self.activate(torch.addcmul(shift, self.norm2(h), 1 + scale)))
        return x + h.transpose(1, 2).reshape(x.shape)  # type: ignore[no-any-return]


class UNet(nn.Module):
    """``net(x, label, c, label_s=None, scale=None)`` with x (b, channels, h, w); h and w divisible by 2^(levels - 1).

    Clips come as x (b, frames * channels, h, w), frame after frame: every frame goes through the image network by
    itself.  With ``motion``, layers over the frames follow its blocks; they start silent, as do the inputs below, and
    the names of their weights begin with ``motion.``.

    ``widths`` are the channels of each level, ``depth`` the blocks per level on the way down and up.
    With ``second_time`` the label of the end of a jump is a further input, with ``scale`` a guidance scale; their
    embeddings start at zero so that a teacher's weights keep their meaning.
    ``condition`` is the shape of one condition that is no label: (features,); ``perturb`` is how far the embedding of
    a condition is perturbed in training, as ``Perturb`` takes it.
    Raises ``RecipeError`` for widths that 8 does not divide, for images that its levels do not divide, for clips that
    are not whole frames, and for conditions that are no vectors.
    """

    def __init__(
        self,
        channels: int = 3,
        classes: int = 0,
        widths: Sequence[int] = (32, 64),
        depth: int = 1,
        dropout: float = 0.0,
        second_time: bool = False,
        scale: bool = False,
        motion: bool = False,
        condition: Sequence[int] = (),
        perturb: float | Mapping[str, float] = 0.0,
    ) -> None:
        super().__init__()
        if not widths or any(width % 8 for width in widths):
            raise RecipeError(f"the widths of a U-Net are {list(widths)}; accepted are multiples of 8, one a level.")
        embedding = 4 * widths[0]
        features = features_of(condition, "a U-Net")
        self.context = Context(embedding, classes, features, second_time, scale, perturb)
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
        self.channels, self.depth, self.levels = channels, depth, len(widths)
        nn.init.zeros_(last_layer.weight)
        blocks = [width for width in widths for _ in range(depth)]
        over = [*blocks, blocks[-1], *reversed(blocks)] if motion else []
        self.motion = nn.ModuleList(Motion(width, embedding) for width in over)

    def forward(
        self,
        x: Tensor,
        label: Tensor,
        c: Tensor | None = None,
        label_s: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Tensor:
        """Return F(x), the shape of x."""
        self._refuse(x)
        embedding = self.context(label, c, label_s, scale)
        frames = x.reshape(-1, self.channels, *x.shape[2:])
        return self._of_frames(frames, embedding).reshape(x.shape)

    def _refuse(self, x: Tensor) -> None:
        if x.shape[1] % self.channels:
            raise RecipeError(
                f"items of {x.shape[1]} channels are no whole frames of {self.channels}; give the network the number "
                "of channels of one image."
            )
        if x.shape[2] % 2 ** (self.levels - 1) or x.shape[3] % 2 ** (self.levels - 1):
            raise RecipeError(
                f"images of {x.shape[2]} x {x.shape[3]} px cannot be halved {self.levels - 1} times, as a U-Net of "
                f"{self.levels} levels does; give fewer widths or another --size."
            )

    def _of_frames(self, frames: Tensor, embedding: Tensor) -> Tensor:
        """Map all frames (b * frames, channels, h, w) of clips with these embeddings (b, width) to the same shape."""
        each = embedding.repeat_interleave(len(frames) // len(embedding), 0)
        h = self.first(frames)
        skips, motions = [h], iter(self.motion)
        for i, block in enumerate(self.down):
            if i and i % self.depth == 0:
                h = avg_pool2d(h, 2)
            skips.append(h := _moved(motions, block(h, each), embedding))
        h = _moved(motions, self.middle(h, each), embedding)
        for i, block in enumerate(self.up):
            if i and i % self.depth == 0:
                h = interpolate(h, scale_factor=2.0)
            h = _moved(motions, block(torch.cat([h, skips.pop()], 1), each), embedding)
        return self.last(torch.cat([h, skips.pop()], 1))  # type: ignore[no-any-return]


def _moved(motions: Iterator[nn.Module], h: Tensor, embedding: Tensor) -> Tensor:
    """Let the next layer over the frames have its say, if there are any."""
    motion = next(motions, None)
    return h if motion is None else motion(h, embedding)
