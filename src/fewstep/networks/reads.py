"""Networks that are told texts: which of those inside another one is it?"""

from typing import Protocol, runtime_checkable

from torch import Tensor, nn

__all__ = ["Reads", "reader_of"]


@runtime_checkable
class Reads(Protocol):
    """A network whose conditions are packed rows that hold the states of a text's tokens."""

    @property
    def states(self) -> tuple[int, ...]:
        """The shape of these states, (tokens, width); empty where there is no text."""

    def read(self, c: Tensor | None, count: int) -> Tensor:
        """Return the states of ``count`` conditions, (count, tokens, width)."""


def reader_of(net: nn.Module) -> Reads | None:
    """Return the network that reads a text, this one or the ``body`` inside; None where there is no text."""
    inside: nn.Module | None = net
    while inside is not None:
        if isinstance(inside, Reads) and inside.states:
            return inside
        inside = dict(inside.named_children()).get("body")
    return None
