"""What data that are sounds can tell of items without a network: how they sound, and whether they are as asked."""

from abc import ABC, abstractmethod

from torch import Tensor

from fewstep.types import X

__all__ = ["Ear"]


class Ear(ABC):
    """Hears items x (b, ...) and reads conditions c (b, ...); a condition of zeros asks for nothing.

    ``rate`` is that of the sound in Hz, ``kinds`` the number of classes that conditions fall into.
    """

    rate: int
    kinds: int

    @abstractmethod
    def sound(self, x: X) -> Tensor:
        """Return the waveforms that items stand for, (b, samples) in [-1, 1]."""

    @abstractmethod
    def seen(self, x: X) -> Tensor:
        """Return pictures of the items for a feature network, (b, channels, frames) in [-1, 1]."""

    @abstractmethod
    def kind(self, c: Tensor) -> Tensor:
        """Return the class that each condition asks for, (b,) int64, -1 where it asks for nothing."""

    @abstractmethod
    def right(self, x: X, c: Tensor) -> Tensor:
        """Return whether each item has the pitch that its condition asks for, (b,) bool."""

    @abstractmethod
    def loudness_error(self, x: X, c: Tensor) -> Tensor:
        """Return how far each item is from the loudness asked for, (b,) in dB, not negative."""

    @abstractmethod
    def words(self, c: Tensor) -> list[str]:
        """Say what each condition asks for."""
