"""Seeing what is in an image without a network: colour from hue, the rest by comparing with drawn shapes."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from fewstep.data.shapes.meaning import Thing
from fewstep.data.shapes.outlines import areas, outline, texture
from fewstep.data.shapes.render import CHROMA, LIGHTEST, coverage, grid
from fewstep.data.shapes.split import Split, split
from fewstep.data.shapes.vocabulary import COLOURS, SHAPES, SIZES, TEXTURES, TONES, Difficulty
from fewstep.types import X

__all__ = ["Found", "Seen", "look"]

UNLIKE = 0.3  # an object whose pixels are further from all shapes, in squares and of its own, is like none
BLURS = 3  # sharp, blurred, twice blurred
FULL = 0.9  # of what the middle of an object fills: where textures are looked for
FAINT = 0.18  # a texture of which less is seen than this share of its light and dark is plain
AT_ONCE = 256  # objects compared together
BRIGHT, DIM = 0.6, 0.4  # a background that is lighter is light, one that is darker is dark


@dataclass(frozen=True)
class Found:
    """One object in an image: what it is (shape "" when it is like none), centre and radius in sides of the image."""

    thing: Thing
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Seen:
    """All objects in an image, the largest first, and the tone of its background, "" between light and dark."""

    found: tuple[Found, ...]
    tone: str


def look(x: X, difficulty: Difficulty) -> list[Seen]:
    """Return what is in each of the images x (b, 3, h, w) in [-1, 1].

    Blur keeps the area that an object fills and its centre of mass.  Together they give every shape the radius and the
    place that it would have; the shape is the one that, drawn there, is nearest to the pixels.
    """
    parts = split(x, difficulty)
    tones = _tones(parts)
    found: list[list[Found]] = [[] for _ in tones]
    for chosen in torch.split(torch.arange(len(parts.row)), AT_ONCE):
        for row, one in zip(parts.row[chosen].tolist(), _found(parts, chosen, difficulty), strict=True):
            found[row].append(one)
    every = (tuple(sorted(each, key=lambda one: -one.radius)) for each in found)
    return [Seen(objects, tone) for objects, tone in zip(every, tones, strict=True)]


def _tones(parts: Split) -> list[str]:
    lightness = (parts.images.mean(1) * parts.free).sum((1, 2)) / parts.free.sum((1, 2)).clamp_min(1)
    return [TONES[0] if light > BRIGHT else TONES[1] if light < DIM else "" for light in lightness.tolist()]


@dataclass(frozen=True, eq=False)
class _Crops:
    """Windows around some objects: how much of each pixel they fill and how light it is, (n, w, w), and the place of
    each pixel, seen from the object's centre (n, 2), in sides of the image of ``size`` pixels."""

    fills: Tensor
    light: Tensor
    x: Tensor
    y: Tensor
    centre: Tensor
    size: int

    @classmethod
    def of(cls, parts: Split, chosen: Tensor, difficulty: Difficulty) -> "_Crops":
        """Cut out these objects, with room for the largest that there can be."""
        fills, size = parts.fills[chosen], parts.images.shape[-1]
        x, y = grid(size)
        area = fills.mean((1, 2)).clamp_min(1e-6)
        centre = torch.stack([(fills * x).mean((1, 2)) / area, (fills * y).mean((1, 2)) / area], 1)
        side = min(size, int(2.4 * max(difficulty.radii)[1] * size) + 6)
        start = (centre * size - side / 2).round().long().clamp(0, size - side)
        across, down = (start[:, i, None] + torch.arange(side) for i in range(2))
        places = (torch.arange(len(chosen))[:, None, None], down[:, :, None], across[:, None])
        from_centre = ((across + 0.5) / size - centre[:, :1], (down + 0.5) / size - centre[:, 1:])
        grey = parts.images.mean(1)[parts.row[chosen]][places]
        return cls(fills[places], grey, from_centre[0][:, None], from_centre[1][:, :, None], centre, size)

    def inside(self, radius: Tensor) -> tuple[Tensor, Tensor]:
        """Return the place of each pixel in radii."""
        u, v = self.x / radius[:, None, None], self.y / radius[:, None, None]
        return u.expand_as(self.fills), v.expand_as(self.fills)


def _found(parts: Split, chosen: Tensor, difficulty: Difficulty) -> list[Found]:
    """Describe some of the objects."""
    crops, known = _Crops.of(parts, chosen, difficulty), SHAPES[: difficulty.shapes]
    area = parts.fills[chosen].mean((1, 2)).clamp_min(1e-6)
    radii = torch.stack([(area / areas()[shape]).sqrt() for shape in known], 1)
    least, shape = torch.stack([_unlike(crops, name, radii[:, k]) for k, name in enumerate(known)], 1).min(1)
    radius = radii.gather(1, shape[:, None])[:, 0]
    shapes = [known[k] if far < UNLIKE else "" for k, far in zip(shape.tolist(), least.tolist(), strict=True)]
    middle = (difficulty.radii[0][1] + difficulty.radii[1][0]) / 2
    sizes = [SIZES[wide > middle] if difficulty.sized else "" for wide in radius.tolist()]
    colours = [[*COLOURS][colour] for colour in parts.colour[chosen].tolist()]
    textures = [TEXTURES[0]] * len(shapes)
    if difficulty.textured:
        textures = _textures(crops, torch.tensor([*COLOURS.values()])[parts.colour[chosen]], radius)
    things = map(Thing, colours, shapes, sizes, textures)
    return [Found(*each) for each in zip(things, *crops.centre.T.tolist(), radius.tolist(), strict=True)]


def _unlike(crops: _Crops, shape: str, radius: Tensor) -> Tensor:
    """Return how far objects are from a shape, sharp or blurred: the squares of the difference, of their own."""
    drawn, far = coverage(outline(shape, *crops.inside(radius)), radius[:, None, None], crops.size), []
    for _ in range(BLURS):
        far.append((crops.fills - drawn).square().sum((1, 2)))
        drawn = _blurred(drawn)
    return torch.stack(far).amin(0) / crops.fills.square().sum((1, 2)).clamp_min(1e-6)


def _textures(crops: _Crops, colours: Tensor, radius: Tensor) -> list[str]:
    """Compare how light objects are, away from their edges, with the textures."""
    light = (crops.light - CHROMA * crops.fills * colours.mean(1)[:, None, None]) / LIGHTEST
    middle = _blurred(crops.fills)
    full = (middle > FULL * middle.amax((1, 2), keepdim=True)).float()
    u, v = crops.inside(radius)
    seen = [_share(light, texture(name, u, v), full) for name in TEXTURES[1:]]
    best = torch.stack([explained for _, explained in seen], 1).argmax(1, keepdim=True)
    shares = torch.stack([share for share, _ in seen], 1).gather(1, best)[:, 0].tolist()
    return [
        TEXTURES[k + 1] if share > FAINT else TEXTURES[0] for k, share in zip(best[:, 0].tolist(), shares, strict=True)
    ]


def _share(light: Tensor, pattern: Tensor, full: Tensor) -> tuple[Tensor, Tensor]:
    """Return how much of a pattern's light and dark is seen, (n,), and how much of the pixels' own that explains."""
    count = full.sum((1, 2)).clamp_min(1)
    light, pattern = (each - ((each * full).sum((1, 2)) / count)[:, None, None] for each in (light, pattern))
    together = (light * pattern * full).sum((1, 2))
    own = (pattern.square() * full).sum((1, 2)).clamp_min(1e-6)
    return together / own, together / own.sqrt()


def _blurred(drawn: Tensor) -> Tensor:
    """Average with the neighbours, by the weights 1, 2, 1 across and down."""
    line = torch.tensor([0.25, 0.5, 0.25])
    kernel = torch.outer(line, line)[None, None]
    return conv2d(pad(drawn[:, None], (1, 1, 1, 1), mode="replicate"), kernel)[:, 0]
