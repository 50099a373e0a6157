"""The shapes as distances from their outlines, and the textures, both in units of an object's radius."""

from collections.abc import Callable, Mapping
from functools import cache
from math import pi

import torch
from torch import Tensor

__all__ = ["HEIGHTS", "areas", "outline", "texture"]

PERIOD = 0.8  # of a texture: two and a half across an object, 6 pixels of the smallest one at 64 pixels
SHARP = 4.0  # how steep the edges of a texture are
HEIGHTS = {"triangle": (1.15, 0.58), "star": (1.1, 0.9), "diamond": (1.05, 1.05)}
"""How far a shape reaches up and down from its centre of mass, in radii, where it is not 1 and 1."""


def _circle(u: Tensor, v: Tensor) -> Tensor:
    return torch.hypot(u, v) - 1


def _square(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(u.abs(), v.abs()) - 0.9


def _triangle(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(v, (3**0.5 * u.abs() - v) / 2) - 0.575


def _cross(u: Tensor, v: Tensor) -> Tensor:
    long, short = torch.maximum(u.abs(), v.abs()), torch.minimum(u.abs(), v.abs())
    return torch.maximum(long - 1, short - 0.33)


def _diamond(u: Tensor, v: Tensor) -> Tensor:
    distance: Tensor = (u.abs() + v.abs() - 1.05) / 2**0.5
    return distance


def _ring(u: Tensor, v: Tensor) -> Tensor:
    return (torch.hypot(u, v) - 0.73).abs() - 0.27


def _star(u: Tensor, v: Tensor) -> Tensor:
    """Five points at 1.1; the sides run from (0, 1.1) to 0.55 at 36 degrees, folded onto one tenth of the star."""
    angle = torch.remainder(torch.atan2(u, -v) + pi / 5, 2 * pi / 5) - pi / 5
    across, along = torch.hypot(u, v) * angle.sin().abs(), torch.hypot(u, v) * angle.cos()
    across_in, along_in = 0.55 * 0.587785, 0.55 * 0.809017  # sine and cosine of 36 degrees
    length = (across_in**2 + (1.1 - along_in) ** 2) ** 0.5
    distance: Tensor = ((1.1 - along_in) * across - across_in * (1.1 - along)) / length
    return distance


OUTLINES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
    "diamond": _diamond,
    "ring": _ring,
    "star": _star,
}


def outline(shape: str, u: Tensor, v: Tensor) -> Tensor:
    """Return how far (u, v) is outside of a shape, negative inside; u goes right and v down from its centre of mass."""
    return OUTLINES[shape](u, v)


def texture(name: str, u: Tensor, v: Tensor) -> Tensor:
    """Return the light (1) and dark (0) parts of a texture; a plain one is 1/2 everywhere."""
    if name == "plain":
        return torch.full_like(u, 0.5)
    across, down = torch.cos(2 * pi * u / PERIOD), torch.cos(2 * pi * v / PERIOD)
    wave = {"striped": down, "dotted": across + down - 0.5, "checked": across * down}[name]
    return (0.5 + SHARP * wave).clamp(0, 1)


@cache
def areas() -> Mapping[str, float]:
    """Return the area of each shape, in squares of its radius, to 1 in 1,000."""
    line = (torch.arange(960, dtype=torch.float64) + 0.5) / 400 - 1.2
    v, u = torch.meshgrid(line, line, indexing="ij")
    return {shape: float((distance(u, v) < 0).double().sum()) / 400**2 for shape, distance in OUTLINES.items()}
