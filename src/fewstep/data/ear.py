"""What checks items that are sounds: it can also play them."""

from abc import abstractmethod

from torch import Tensor

from fewstep.data.checker import Checker
from fewstep.types import X

__all__ = ["Ear"]


class Ear(Checker):
    """Hears items x (b, ...); right is what has the pitch asked for.  ``rate`` is that of the sound in Hz."""

    rate: int

    @abstractmethod
    def sound(self, x: X) -> Tensor:
        """Return the waveforms that items stand for, (b, samples) in [-1, 1]."""

    @abstractmethod
    def loudness_error(self, x: X, c: Tensor) -> Tensor:
        """Return how far each item is from the loudness asked for, (b,) in dB, not negative."""
