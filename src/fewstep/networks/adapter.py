"""An adapter: cross-attention to a positive and a negative condition, added to a network that stays as it is."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from fewstep.errors import RecipeError
from fewstep.networks.embed import ConditionEmbedding
from fewstep.networks.reads import reader_of
from fewstep.tapped import changing

__all__ = ["Adapted"]

HEAD = 16  # channels of one attention head
EPS = 1e-6  # under the norms, so that a branch of zeros stays one


class Adapted(nn.Module):
    """``net(x, label, c, label_s=None, scale=None, negative=None)`` around any ``body(x, label, c, ...)``.

    To the output h (b, channels, *places) of each submodule in ``taps``, name to channels, it adds
    ``N(A(q, K, V)) - N(A(q, K', V'))``: attention of the places to ``tokens`` tokens of c, and to those of the
    negative condition, by default the empty one.  N rescales each item to the norm of h, then each channel has a gain
    and a shift.  What is not under ``adapter`` belongs to the body.
    Both branches start alike and all conditions with the same tokens: the answer is the body's to the last bit.
    ``classes`` and ``condition`` (the shape of one, () for labels) say what conditions are.  A body that reads text has
    ``states``, their (tokens, width), and reads a condition with ``read(c, items)``; the tokens are those of the text.
    Source: SpeedUpNet, arXiv 2312.08887; N is that of its code.  *Ours*: N per item, where the code takes one norm
    for the whole batch; queries from any part of the network; tokens of their own, there those of the text.
    Raises ``RecipeError`` for conditions of several axes, and for a submodule that the body has not.
    """

    def __init__(
        self,
        body: nn.Module,
        taps: Mapping[str, int],
        classes: int = 0,
        condition: Sequence[int] = (),
        tokens: int = 32,
        width: int = 64,
    ) -> None:
        super().__init__()
        if len(condition) > 1 or not (classes or condition) or width % HEAD:
            raise RecipeError(
                f"an adapter for {classes} classes and conditions of shape {list(condition)}, of width {width}; "
                f"accepted are classes or vectors, [features], and widths that {HEAD} divides."
            )
        self.body, self.taps = body, tuple(taps)
        reader = reader_of(body)
        states: Sequence[int] = () if reader is None else reader.states
        told = (classes, sum(condition))
        self.adapter = _Adapter(tuple(taps.values()), told, (states[0] if states else tokens, width), tuple(states)[1:])

    def forward(
        self,
        x: Tensor,
        label: Tensor,
        c: Tensor | None = None,
        label_s: Tensor | None = None,
        scale: Tensor | None = None,
        negative: Tensor | None = None,
    ) -> Tensor:
        """Return the output of the body with the offsets in it, the shape of x."""
        reader = reader_of(self.body)
        told = (each if reader is None else reader.read(each, len(x)) for each in (c, negative))
        tokens, against = (self.adapter.read(each, len(x)) for each in told)
        changes = {
            tap: partial(offset, tokens=tokens, against=against)
            for tap, offset in zip(self.taps, self.adapter.offsets, strict=True)
        }
        until = () if label_s is None else (label_s,)
        more = {} if scale is None else {"scale": scale}
        with changing(self.body, changes):
            return self.body(x, label, c, *until, **more)  # type: ignore[no-any-return]


class _Adapter(nn.Module):
    """Tokens of conditions, or of text states of that width if they are ``read``, and one offset per tap."""

    def __init__(
        self, channels: Sequence[int], conditions: tuple[int, int], tokens: tuple[int, int], read: tuple[int, ...] = ()
    ) -> None:
        super().__init__()
        self.reads = bool(read)
        self.learned = nn.Parameter(torch.randn(tokens))
        self.embed = nn.Linear(read[0], tokens[1]) if read else ConditionEmbedding(tokens[0] * tokens[1], *conditions)
        for parameter in self.embed.parameters():
            nn.init.zeros_(parameter)
        self.offsets = nn.ModuleList(_Offset(each, tokens[1]) for each in channels)

    def read(self, c: Tensor | None, items: int) -> Tensor:
        """Return the tokens of a condition, or of the text states c (b, tokens, features): (b, tokens, width)."""
        same = self.learned.expand(items, -1, -1)
        if self.reads and c is not None:
            return same + self.embed(c)  # type: ignore[no-any-return]
        return same + self.embed(c, same.flatten(1)).reshape(same.shape)  # type: ignore[no-any-return]


class _Offset(nn.Module):
    """What one tap is changed by: the positive branch less the negative one, with queries in common."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(channels, width)
        self.positive, self.negative = _Branch(channels, width), _Branch(channels, width)
        self.negative.load_state_dict(self.positive.state_dict())

    def forward(self, h: Tensor, tokens: Tensor, against: Tensor) -> Tensor:
        """Return h, (b, channels, *places), with the offset."""
        places = h.reshape(*h.shape[:2], -1).transpose(1, 2)
        q, size = self.query(layer_norm(places, places.shape[2:])), _size(places)
        offset = self.positive(q, tokens, size) - self.negative(q, against, size)
        return h + offset.transpose(1, 2).reshape(h.shape).to(h.dtype)  # type: ignore[no-any-return]


class _Branch(nn.Module):
    """Attention to tokens, written out: the fused kernel has no forward-mode derivative; and the norm N."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.heads, self.keys, self.values = width // HEAD, nn.Linear(width, width), nn.Linear(width, width)
        self.out = nn.Linear(width, channels)
        self.gain, self.shift = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, q: Tensor, tokens: Tensor, size: Tensor) -> Tensor:
        """Map queries (b, places, width) to (b, places, channels) of that size (b, 1, 1) before gain and shift."""
        three = (q, self.keys(tokens), self.values(tokens))
        q, k, v = (each.reshape(*each.shape[:2], self.heads, HEAD).transpose(1, 2) for each in three)
        mixed = (q @ k.transpose(2, 3) * HEAD**-0.5).softmax(-1) @ v
        answer = self.out(mixed.transpose(1, 2).flatten(2))
        return torch.addcmul(self.shift, answer * (size / _size(answer)), self.gain)


def _size(places: Tensor) -> Tensor:
    """Return the root of the mean square of each item, (b, 1, 1)."""
    return (places.square().mean((1, 2), keepdim=True) + EPS**2).sqrt()
