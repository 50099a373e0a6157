"""From scenes to pixels: anti-aliased by the distance from each outline, many images at once."""

from collections.abc import Sequence
from math import cos, pi, radians, sin

import torch
from torch import Tensor

from fewstep.data.shapes.compose import Placed, Scene
from fewstep.data.shapes.outlines import outline, texture
from fewstep.data.shapes.vocabulary import COLOURS

__all__ = ["CHROMA", "LIGHTEST", "coverage", "grid", "render"]

CHROMA, LIGHTEST = 0.65, 0.32  # a colour is so much of its hue and up to so much white; together less than 1
LEVELS = 255  # values are rounded to what a file holds, so that the last bits of a cosine do not count


def render(scenes: Sequence[Scene], size: int) -> Tensor:
    """Return images (n, 3, size, size) in [-1, 1].

    Every object adds the same to red minus green and so on, however light it is: textures change its lightness alone.
    """
    images = _backgrounds(scenes, size)
    for layer in range(max((len(scene.objects) for scene in scenes), default=0)):
        rows = [row for row, scene in enumerate(scenes) if len(scene.objects) > layer]
        objects = [scenes[row].objects[layer] for row in rows]
        for shape in {each.thing.shape for each in objects}:
            chosen = [i for i, each in enumerate(objects) if each.thing.shape == shape]
            _paint(images, [rows[i] for i in chosen], [objects[i] for i in chosen])
    return 2 * (images.clamp(0, 1) * LEVELS).round() / LEVELS - 1


def grid(size: int) -> tuple[Tensor, Tensor]:
    """Return x and y of every pixel's centre in sides of the image, (size, size) each."""
    line = (torch.arange(size) + 0.5) / size
    y, x = torch.meshgrid(line, line, indexing="ij")
    return x, y


def coverage(distance: Tensor, radius: Tensor, size: int) -> Tensor:
    """Return how much of each pixel is inside, 0 to 1, from the distance of its centre from the outline in radii."""
    return (0.5 - distance * radius * size).clamp(0, 1)


def _backgrounds(scenes: Sequence[Scene], size: int) -> Tensor:
    x, y = grid(size)
    numbers = torch.tensor([[s.backdrop.light, *s.backdrop.slope, *s.backdrop.waves] for s in scenes]).reshape(-1, 7)
    light, right, down, height, across, along, begin = numbers.T[:, :, None, None]
    tints = torch.tensor([scene.backdrop.tint for scene in scenes]).reshape(-1, 3)
    lightness: Tensor = light + right * (x - 0.5) + down * (y - 0.5)
    if height.any():
        lightness = lightness + height * torch.sin(2 * pi * (across * x + along * y + begin))
    return lightness[:, None] + tints[:, :, None, None]


def _paint(images: Tensor, rows: Sequence[int], objects: Sequence[Placed]) -> None:
    """Lay objects of one shape over the images of these rows, one each."""
    x, y = grid(images.shape[-1])
    turned = [(o.x, o.y, o.radius, cos(radians(o.tilt)), sin(radians(o.tilt))) for o in objects]
    left, top, radius, c, s = torch.tensor(turned).T[:, :, None, None]
    u, v = (x - left) / radius, (y - top) / radius
    u, v = c * u + s * v, c * v - s * u
    cover = coverage(outline(objects[0].thing.shape, u, v), radius, images.shape[-1])[:, None]
    hues = torch.tensor([COLOURS[o.thing.colour] for o in objects]) * torch.tensor([[o.strength] for o in objects])
    colours = CHROMA * hues[:, :, None, None] + LIGHTEST * _lightness(objects, u, v)[:, None]
    place = torch.tensor(rows)
    images[place] = torch.lerp(images[place], colours, cover)


def _lightness(objects: Sequence[Placed], u: Tensor, v: Tensor) -> Tensor:
    """Return how light each object is, 0 to 1 at every pixel: all over, or from dark to light by its texture."""
    light = torch.tensor([each.light for each in objects])[:, None, None].expand_as(u).clone()
    for name in {each.thing.texture for each in objects} - {"plain", ""}:
        chosen = [i for i, each in enumerate(objects) if each.thing.texture == name]
        light[chosen] = texture(name, u[chosen], v[chosen])
    return light
