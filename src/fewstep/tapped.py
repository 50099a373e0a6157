"""Listening to what a network says inside."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil
from typing import Any, Protocol, TypeAlias, runtime_checkable

from torch import Tensor, nn

from fewstep.critic import Critic
from fewstep.denoiser import Denoiser
from fewstep.errors import RecipeError, nearest
from fewstep.types import Cond, T, X

__all__ = ["Parted", "changing", "listening", "standing", "tapped"]

LEVELS = 2  # of the U-Nets that recipes are written for: down.0, down.1, middle, up.0, up.1

Change: TypeAlias = Callable[[Tensor], Tensor | None]
"""What is made of features (b, channels, *places); None leaves them as they are."""


@runtime_checkable
class Parted(Protocol):
    """A network whose parts have other names, or speak in another form, than those of our U-Nets."""

    @property
    def in_tokens(self) -> bool:
        """Whether its parts say (b, tokens, channels), as those of transformers do."""

    def part(self, name: str) -> str:
        """Return the name of its own part that stands where a U-Net of ours has ``name``; any other name as it is."""


def standing(name: str, lines: Sequence[Sequence[str]]) -> str:
    """Return which part of ``lines`` stands where a U-Net has ``name``, down.i, middle or up.i; other names stay.

    The lines of a U-Net are its parts on the way down, in the middle and on the way up; of others there is one.  A part
    is found at the share of its line at which the named one ends: the way down of two levels, or all five parts.
    """
    line, _, number = name.partition(".")
    if not ((line in ("down", "up") and number.isdecimal()) or name == "middle"):
        return name
    place, levels = int(number or 0) + 1, max(LEVELS, int(number or 0) + 1)
    if len(lines) == 1:
        place, levels = place + {"down": 0, "middle": levels, "up": levels + 1}[line], 2 * levels + 1
    elif line == "middle":
        levels = 1
    found = lines[0] if len(lines) == 1 else lines[("down", "middle", "up").index(line)]
    return found[ceil(place * len(found) / levels) - 1]


@contextmanager
def listening(net: nn.Module, taps: Sequence[str]) -> Iterator[list[Tensor]]:
    """Collect the outputs (b, channels, *places) of the parts named ``taps`` in the order in which they answer.

    Raises ``RecipeError`` when the network has no such part.
    """
    heard: list[Tensor] = []
    with changing(net, dict.fromkeys(taps, heard.append)):
        yield heard


@contextmanager
def changing(net: nn.Module, changes: Mapping[str, Change]) -> Iterator[None]:
    """Put in the place of the outputs of named parts what is made of them; None leaves one as it is.

    Parts are submodules, also of the ``body`` that a network is put around, or what a ``Parted`` one calls so.  Of
    several outputs (a state with its residuals, the text with the image) the last tensor is meant.  Tokens come as
    (b, channels, tokens).
    Raises ``RecipeError`` when the network has no such part.
    """
    handles = []
    places = [(_place(net, tap), change) for tap, change in changes.items()]
    try:
        for (part, in_tokens), change in places:
            handles.append(part.register_forward_hook(_Hook(change, in_tokens)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def tapped(view: Denoiser | Critic, taps: Sequence[str], x: X, t: T, c: Cond = None) -> list[Tensor]:
    """Return what the parts say, (b, channels, *places), while the view estimates the data of (x, t, c), or judges
    it."""
    with listening(view.net, taps) as heard:
        view(x, t, c)
    return heard


class _Hook:
    """What a part calls with its output."""

    def __init__(self, change: Change, in_tokens: bool) -> None:
        self.change, self.in_tokens = change, in_tokens

    def __call__(self, module: nn.Module, args: object, output: Any) -> Any:
        """Return the changed output, None for one that stays."""
        if isinstance(output, Tensor):
            return self._changed(output)
        last = max(i for i, each in enumerate(output) if isinstance(each, Tensor))
        found = self._changed(output[last])
        return None if found is None else (*output[:last], found, *output[last + 1 :])

    def _changed(self, said: Tensor) -> Tensor | None:
        turned = self.in_tokens and said.ndim == 3
        found = self.change(said.transpose(1, 2) if turned else said)
        return found.transpose(1, 2) if turned and found is not None else found


def _place(net: nn.Module, tap: str) -> tuple[nn.Module, bool]:
    """Return the part of that name, and whether it speaks in tokens."""
    home, name = net, tap
    while True:
        name = home.part(tap) if isinstance(home, Parted) else tap
        if name in dict(home.named_modules()) and name:
            break
        body = dict(home.named_children()).get("body")
        if body is None:
            short = [each for each, _ in net.named_modules() if each and each.count(".") < 2]
            raise RecipeError(f"the network has no part {tap!r} to listen to; {nearest(tap, short)}")
        home = body
    words = name.split(".")
    around = (home.get_submodule(".".join(words[:count])) for count in range(len(words)))
    return home.get_submodule(name), any(isinstance(each, Parted) and each.in_tokens for each in around)
