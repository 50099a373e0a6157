"""Listening to what a network says inside."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from fewstep.critic import Critic
from fewstep.denoiser import Denoiser
from fewstep.errors import RecipeError, nearest
from fewstep.types import Cond, T, X

__all__ = ["changing", "listening", "tapped"]


@contextmanager
def listening(net: nn.Module, taps: Sequence[str]) -> Iterator[list[Tensor]]:
    """Collect the outputs of the submodules named ``taps`` in the order in which they answer.

    Raises ``RecipeError`` when the network has no such part.
    """
    heard: list[Tensor] = []
    with changing(net, dict.fromkeys(taps, heard.append)):
        yield heard


@contextmanager
def changing(net: nn.Module, changes: Mapping[str, Callable[[Tensor], Tensor | None]]) -> Iterator[None]:
    """Put in the place of the outputs of named submodules what is made of them; None leaves one as it is.

    Raises ``RecipeError`` when the network has no such part.
    """
    names = {name for name, _ in net.named_modules() if name}
    for tap in changes:
        if tap not in names:
            short = [name for name in names if name.count(".") < 2]
            raise RecipeError(f"the network has no part {tap!r} to listen to; {nearest(tap, short)}")
    handles = [
        net.get_submodule(tap).register_forward_hook(lambda module, args, output, change=change: change(output))
        for tap, change in changes.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def tapped(view: Denoiser | Critic, taps: Sequence[str], x: X, t: T, c: Cond = None) -> list[Tensor]:
    """Return what the submodules say while the view estimates the data of (x, t, c), or judges it."""
    with listening(view.net, taps) as heard:
        view(x, t, c)
    return heard
