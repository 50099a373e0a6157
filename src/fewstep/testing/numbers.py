"""Numbers in the place of random ones, so that an expectation is a weighted sum and not an estimate."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fewstep.denoiser import Denoises
from fewstep.draws import Draws
from fewstep.process import Process
from fewstep.types import Cond, T, X

__all__ = ["Counted", "Given", "normal_points"]


def normal_points(nodes: int, dims: int = 1) -> tuple[Tensor, Tensor]:
    """Return points (nodes^dims, dims) and weights (nodes^dims,) of the standard normal law, float64.

    ``weights @ f(points)`` is the expectation of f: exact for polynomials up to degree ``2 nodes - 1`` in each
    coordinate, and close for smooth functions.  Source: Golub and Welsch 1969 (Gauss-Hermite quadrature).
    """
    off = torch.arange(1, nodes, dtype=torch.float64).sqrt()
    places, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    index = torch.cartesian_prod(*[torch.arange(nodes)] * dims).reshape(-1, dims)
    return places[index], vectors[0].square()[index].prod(1)


class Given(Draws):
    """Draws that were written down before: each call returns the next number, tensor or list of its kind.

    Raises ``IndexError`` when a rule draws more than it was given.
    """

    def __init__(
        self, normals: Sequence[Tensor] = (), uniforms: Sequence[Tensor] = (), integers: Sequence[int] = ()
    ) -> None:
        self._normals, self._uniforms, self._integers = list(normals), list(uniforms), list(integers)

    def normal(self, like: X) -> X:
        """Return the next normal numbers, in the precision of ``like``."""
        return self._normals.pop(0).to(like).expand_as(like)

    def uniform(self, items: int) -> T:
        """Return the next uniform numbers."""
        return self._uniforms.pop(0).double().expand(items)

    def integer(self, high: int) -> int:
        """Return the next integer."""
        return self._integers.pop(0)

    def seed(self, name: str) -> int:
        """Return 1."""
        return 1

    @property
    def left(self) -> int:
        """How many numbers nobody has asked for yet."""
        return len(self._normals) + len(self._uniforms) + len(self._integers)


class Counted:
    """A denoiser that keeps the questions it was asked: ``(x, t, c, s)`` each."""

    def __init__(self, inner: Denoises) -> None:
        self.inner = inner
        self.asked: list[tuple[X, T, Cond, T | None]] = []

    @property
    def process(self) -> Process:
        """The path of the denoiser inside."""
        return self.inner.process

    @property
    def calls(self) -> int:
        """How many questions there were."""
        return len(self.asked)

    def __call__(self, x: X, t: T, c: Cond = None, s: T | None = None) -> X:
        """Keep the question and pass it on."""
        self.asked.append((x, t, c, s))
        return self.inner(x, t, c, s)
