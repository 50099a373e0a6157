"""Attention to a prompt and a negative one in one pass: processors around those that a backbone has.

A backbone is given the tokens of both prompts in a row, ``[prompt, negative]``, each of the same length.  What works
token by token (projections, norms, feed-forward layers) need not know; these processors part the two again.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fewstep.errors import DataError, RecipeError
from fewstep.guidance import Away

__all__ = ["PER_TOKEN", "away_processors", "beside", "turned_away"]

PER_TOKEN = ("states", "mask")  # what a family tells of each token of a prompt


def beside(told: Mapping[str, Tensor], against: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what a backbone is told of two prompts: their tokens in a row, all else of the first.

    Raises ``DataError`` for a negative prompt of another form.
    """
    for name, part in told.items():
        if against[name].shape != part.shape:
            raise DataError(
                f"The {name} of the negative prompt have the shape {tuple(against[name].shape)}, those of the prompt "
                f"{tuple(part.shape)}. Encode both with the same pipeline."
            )
    return {name: torch.cat([part, against[name]], 1) if name in PER_TOKEN else part for name, part in told.items()}


def away_processors(net: Any, rule: Away, tokens: int) -> dict[str, Any]:
    """Return the attention processors of a diffusers U-Net or transformer, those that read the prompt under ``rule``.

    ``tokens`` is the length of one prompt.  For ``net.set_attn_processor``; then the net is to be told of both prompts
    in a row: in a stock pipeline ``prompt_embeds=torch.cat([prompt, negative], 1)``, masks likewise.
    Raises ``RecipeError`` when no attention reads a prompt, or one has a processor with weights (an IP-Adapter).
    """
    made = {f"{name}.processor": each for name, _, each in _made(net, rule, tokens)}
    return dict(net.attn_processors) | made


@contextmanager
def turned_away(net: Any, rule: Away, tokens: int) -> Iterator[None]:
    """Put the processors of a rule on a backbone, and take them off again; not for calls side by side in threads."""
    made = [(attn, attn.processor, new) for _, attn, new in _made(net, rule, tokens)]
    try:
        for attn, _, new in made:
            attn.set_processor(new)
        yield
    finally:
        for attn, old, _ in made:
            attn.set_processor(old)


@dataclass(frozen=True)
class _Parted:
    """A processor that asks ``inner`` once for each prompt, and mixes what the image gets of them."""

    inner: Any
    rule: Away
    tokens: int

    def prompts(self, row: Tensor, dim: int = 1) -> tuple[Tensor, Tensor]:
        """Return a row ``[prompt, negative]`` in its halves; raise ``DataError`` when it is longer or shorter."""
        if row.shape[dim] != 2 * self.tokens:
            raise DataError(
                f"The attention was given {row.shape[dim]} tokens of text, but is to read a prompt and a negative one "
                f"of {self.tokens} each. Give both in a row, padded to this length."
            )
        return self.parted(row, dim)

    def parted(self, row: Tensor, dim: int = 1) -> tuple[Tensor, Tensor]:
        """Return a row ``[prompt, negative, rest]`` as ``[prompt, rest]`` and ``[negative, rest]``."""
        first, second, rest = row.tensor_split((self.tokens, 2 * self.tokens), dim)
        return torch.cat([first, rest], dim), torch.cat([second, rest], dim)


class _Cross(_Parted):
    """Cross-attention: of a U-Net, PixArt or Sana."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        states, bare = self.prompts(encoder_hidden_states), _Bare(attn)
        masks = (None, None) if attention_mask is None else self.prompts(attention_mask, -1)
        both = [self.inner(bare, hidden_states, *each) for each in zip(states, masks, strict=True)]
        mixed: Tensor = attn.to_out[1](attn.to_out[0](self.rule.mix(*both)))
        whole = mixed + hidden_states if attn.residual_connection else mixed
        return whole / float(attn.rescale_output_factor)


class _Joint(_Parted):
    """Joint attention of two streams: of SD 3, and of the double blocks of Flux.

    The tokens of each prompt attend to the image and to each other; those of the other prompt they do not see.
    """

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        states, bare = self.prompts(encoder_hidden_states), _Bare(attn)
        turns = [() if turn is None else (turn,) for turn in _rotary(self, image_rotary_emb)]
        both = [self.inner(bare, hidden_states, s, attention_mask, *t) for s, t in zip(states, turns, strict=True)]
        (positive, text), (negative, other) = both
        image = attn.to_out[1](attn.to_out[0](self.rule.mix(positive, negative)))
        texts = torch.cat([text, other], 1)
        return image, texts if attn.context_pre_only else attn.to_add_out(texts)


class _Single(_Parted):
    """Attention of one stream of text and image: of the single blocks of Flux, which project later."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        streams, turns = self.parted(hidden_states), _rotary(self, image_rotary_emb)
        both = [self.inner(attn, x, None, attention_mask, t) for x, t in zip(streams, turns, strict=True)]
        (text, positive), (other, negative) = (each.tensor_split((self.tokens,), 1) for each in both)
        return torch.cat([text, other, self.rule.mix(positive, negative)], 1)


class _Bare:
    """An attention without its output projection and what follows; in all else it is the attention itself.

    What it projects of the same tensor twice, it projects once.
    """

    residual_connection, rescale_output_factor = False, 1.0

    def __init__(self, attn: Any) -> None:
        self.attn = attn
        self.to_q, self.to_k, self.to_v = _Remembered(attn.to_q), _Remembered(attn.to_k), _Remembered(attn.to_v)
        self.to_out, self.to_add_out = (nn.Identity(), nn.Identity()), nn.Identity()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.attn, name)


class _Remembered:
    """A layer that answers the same question once."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer
        self.known: tuple[Tensor, Tensor] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        if self.known is None or self.known[0] is not x:
            self.known = x, self.layer(x)
        return self.known[1]


def _rotary(
    parted: _Parted, given: tuple[Tensor, Tensor] | None
) -> tuple[tuple[Tensor, Tensor] | None, tuple[Tensor, Tensor] | None]:
    """Return the rotations of places, (tokens, features) each, for each prompt."""
    if given is None:
        return None, None
    (cos, cos_other), (sin, sin_other) = (parted.parted(each, 0) for each in given)
    return (cos, sin), (cos_other, sin_other)


def _made(net: nn.Module, rule: Away, tokens: int) -> list[tuple[str, Any, _Parted]]:
    """Return name and module of each attention that reads the prompt, and its processor under the rule."""
    made = []
    for name, attn in net.named_modules():
        kind = _kind(vars(attn))
        if kind is not None:
            inner = attn.processor
            if isinstance(inner, nn.Module | _Parted):
                raise RecipeError(
                    f"the attention {name!r} has the processor {type(inner).__name__} already, which cannot be told of "
                    "a negative prompt. Take it off first."
                )
            made.append((name, attn, kind(inner, rule, tokens)))
    if not made:
        raise RecipeError(
            f"{type(rule).__name__} works in a network's attention to a prompt, but no attention of this "
            f"{type(net).__name__} reads one. Leave the negative condition out."
        )
    return made


def _kind(facts: Mapping[str, Any]) -> type[_Parted] | None:
    """Return the processor for a module of these attributes; None for all but an attention that reads a prompt."""
    if "added_kv_proj_dim" not in facts:
        return None
    if facts["added_kv_proj_dim"] is not None:
        return _Joint
    if facts.get("pre_only"):
        return _Single
    return _Cross if facts.get("is_cross_attention") else None
