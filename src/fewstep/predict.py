"""What a network puts out, and its one conversion to x0.

The same denoiser can be written in five ways; each class here names one and converts both ways, on every process.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from fewstep.process import Process, over
from fewstep.types import T, X

__all__ = ["EDM", "X0", "Eps", "Prediction", "V", "Velocity"]


class Prediction(ABC):
    """The meaning of a network's output F."""

    def input(self, process: Process, x: X, t: T) -> X:
        """Return what the network is fed instead of x: x itself, unless the prediction scales it."""
        return x

    @abstractmethod
    def x0(self, process: Process, output: X, x: X, t: T) -> X:
        """Return the estimate of the data that ``output`` stands for."""

    @abstractmethod
    def output(self, process: Process, x0: X, x: X, t: T) -> X:
        """Return the output that stands for ``x0``: the inverse of ``x0``; needs 0 < t."""


@dataclass(frozen=True)
class X0(Prediction):
    """F is the data itself.  As a consistency student it lacks the boundary ``f(x, 0) = x``."""

    def x0(self, process: Process, output: X, x: X, t: T) -> X:
        """Return F."""
        return output

    def output(self, process: Process, x0: X, x: X, t: T) -> X:
        """Return x0."""
        return x0


@dataclass(frozen=True)
class Eps(Prediction):
    """F is the noise: ``x0 = (x - sigma F) / alpha``; undefined where alpha is 0.  Source: DDPM, eq. 11."""

    def x0(self, process: Process, output: X, x: X, t: T) -> X:
        """Return ``(x - sigma F) / alpha``."""
        alpha, sigma = process.scales(t)
        return (x - over(sigma, x) * output) / over(alpha, x)

    def output(self, process: Process, x0: X, x: X, t: T) -> X:
        """Return ``(x - alpha x0) / sigma``."""
        return process.eps(x, x0, t)


@dataclass(frozen=True)
class V(Prediction):
    """F is ``alpha z - sigma x0``: ``x0 = (alpha x - sigma F) / (alpha^2 + sigma^2)``.

    Source: progressive distillation, arXiv 2202.00512, appendix D, written for any alpha and sigma.
    """

    def x0(self, process: Process, output: X, x: X, t: T) -> X:
        """Return ``(alpha x - sigma F) / (alpha^2 + sigma^2)``."""
        alpha, sigma = process.scales(t)
        norm = alpha**2 + sigma**2
        return over(alpha / norm, x) * x - over(sigma / norm, x) * output

    def output(self, process: Process, x0: X, x: X, t: T) -> X:
        """Return ``alpha z - sigma x0``."""
        alpha, sigma = process.scales(t)
        return over(alpha / sigma, x) * x - over((alpha**2 + sigma**2) / sigma, x) * x0


@dataclass(frozen=True)
class Velocity(Prediction):
    """F is ``z - x0``, the velocity of rectified flow: ``x0 = (x - sigma F) / (alpha + sigma)``.

    Source: arXiv 2209.03003, eq. 1 (there with the opposite sign of time), written for any alpha and sigma.
    """

    def x0(self, process: Process, output: X, x: X, t: T) -> X:
        """Return ``(x - sigma F) / (alpha + sigma)``."""
        alpha, sigma = process.scales(t)
        return over(1 / (alpha + sigma), x) * x - over(sigma / (alpha + sigma), x) * output

    def output(self, process: Process, x0: X, x: X, t: T) -> X:
        """Return ``z - x0``."""
        return process.eps(x, x0, t) - x0


@dataclass(frozen=True)
class EDM(Prediction):
    """F is preconditioned: ``x0 = c_skip x + c_out F(c_in x)``, in units of ``process.sigma_data``.

    With ``d = sigma_data`` and ``n = alpha^2 d^2 + sigma^2``: ``c_in = n^-1/2``, ``c_skip = alpha d^2 / n``,
    ``c_out = sigma d n^-1/2``.  A ``boundary > 0`` moves the identity from noise level 0 to that one, as
    consistency models do.  Source: arXiv 2206.00364, table 1; boundary: arXiv 2303.01469, appendix C.
    *Ours*: written for any alpha and sigma through ``x / alpha`` at noise level ``sigma / alpha``.
    """

    boundary: float = 0.0

    def input(self, process: Process, x: X, t: T) -> X:
        """Return ``c_in x``."""
        return over(process.variance(t).rsqrt(), x) * x

    def x0(self, process: Process, output: X, x: X, t: T) -> X:
        """Return ``c_skip x + c_out F``."""
        skip, out = self._scales(process, t)
        return over(skip, x) * x + over(out, x) * output

    def output(self, process: Process, x0: X, x: X, t: T) -> X:
        """Return ``(x0 - c_skip x) / c_out``."""
        skip, out = self._scales(process, t)
        return (x0 - over(skip, x) * x) / over(out, x)

    def _scales(self, process: Process, t: T) -> tuple[Tensor, Tensor]:
        (alpha, sigma), data = process.scales(t), process.sigma_data
        above = sigma - alpha * self.boundary
        skip = alpha * data**2 / ((alpha * data) ** 2 + above**2)
        return skip, above * data * torch.rsqrt((alpha * data) ** 2 + sigma**2)
