"""What data can tell of items without a network: whether they are what was asked for."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from fewstep.types import X

__all__ = ["Checker"]


class Checker(ABC):
    """Compares items x (b, ...) with conditions c (b, ...); a condition of zeros asks for nothing.

    ``kinds`` is the number of classes that conditions fall into, 0 where there are none; ``bounded`` whether items lie
    in [-1, 1], as latents do not.
    """

    kinds: int
    bounded: bool = True

    @abstractmethod
    def seen(self, x: X) -> Tensor:
        """Return the items for a feature network: images, or pictures (b, channels, frames) of sounds, in [-1, 1]."""

    @abstractmethod
    def kind(self, c: Tensor) -> Tensor:
        """Return the class that each condition asks for, (b,) int64, -1 where it asks for nothing."""

    @abstractmethod
    def right(self, x: X, c: Tensor) -> Tensor:
        """Return whether each item is what its condition asks for, (b,) bool."""

    @abstractmethod
    def words(self, c: Tensor) -> list[str]:
        """Say what each condition asks for."""

    def asked(self, words: Sequence[str]) -> Tensor | None:
        """Return the conditions that ask for what is said, (b, ...), or None when nothing can be asked for in words.

        Raises ``DataError`` for words that are not understood.
        """
        return None

    def loudness_error(self, x: X, c: Tensor) -> Tensor | None:
        """Return how far each sound is from the loudness asked for, (b,) in dB, not negative; None without sound."""
        return None
