"""Which pixels of an image belong to which object, from hue alone."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import avg_pool2d, cosine_similarity, interpolate, one_hot

from fewstep.data.shapes.outlines import areas
from fewstep.data.shapes.render import CHROMA
from fewstep.data.shapes.vocabulary import COLOURS, SHAPES, Difficulty
from fewstep.types import X

__all__ = ["Split", "hues", "split"]

LARGEST = 64  # pixels a side; larger images are averaged down to it: all that there is to see is visible at 64
SMOOTHED = 32  # pixels a side, from which on hues are averaged over 3 x 3 pixels: no object is as thin as that
INSIDE = 0.35  # a pixel belongs to an object when its colour is so strong, of what it is inside of one
SPECK = 0.3  # of the area of the smallest object there is: what is smaller is no object
PLANE = torch.tensor([[1.0, -0.5, -0.5], [0.0, 0.75**0.5, -(0.75**0.5)]])  # red, green and blue without their grey


@dataclass(frozen=True, eq=False)
class Split:
    """Images (b, 3, h, w) in [0, 1] and their objects, all in one list.

    ``row`` (n,) the image of each object, ``colour`` (n,) the number of its colour, ``fills`` (n, h, w) how much of
    each pixel it fills, about 0 to 1, ``free`` (b, h, w) which pixels no object touches.
    """

    images: Tensor
    row: Tensor
    colour: Tensor
    fills: Tensor
    free: Tensor


def hues(difficulty: Difficulty) -> Tensor:
    """Return the colours of a difficulty without their grey, (colours, 2)."""
    return CHROMA * torch.tensor([*COLOURS.values()][: difficulty.colours]) @ PLANE.T


def split(x: X, difficulty: Difficulty) -> Split:
    """Find the objects in images x (b, 3, h, w) in [-1, 1].

    A background has hardly any hue, so how strong a pixel's hue is says how much of it an object fills, at edges and
    under blur as well; pixels that touch and are nearest to the same colour are one object.
    """
    images = (_small(x.detach().float().cpu()).clamp(-1, 1) + 1) / 2
    chroma = torch.einsum("ij,bjhw->bihw", PLANE, images)
    tint = _border(chroma).median(2).values
    chroma = chroma - tint[:, :, None, None]
    labels = _labels(chroma, difficulty)
    places = labels.nonzero()
    row = torch.zeros(int(labels.max()) if len(places) else 0, dtype=torch.long)
    row[labels[tuple(places.T)] - 1] = places[:, 0]
    own = labels[row] == torch.arange(1, len(row) + 1)[:, None, None]
    here, known = chroma[row] * own[:, None], hues(difficulty)
    colour = cosine_similarity(here.sum((2, 3))[:, None], known[None], dim=2).argmax(1)
    whole = known[colour] - tint[row]
    toward = whole / whole.square().sum(1, keepdim=True)
    fills = torch.einsum("nc,nchw->nhw", toward, here).clamp(0, 1.2)
    return Split(images, row, colour, fills, labels == 0)


def _small(x: Tensor) -> Tensor:
    return x if x.shape[-1] <= LARGEST else interpolate(x, size=(LARGEST, LARGEST), mode="area")


def _border(chroma: Tensor) -> Tensor:
    """Return the pixels at the four edges, (b, 2, pixels)."""
    edges = (chroma[:, :, 0], chroma[:, :, -1], chroma[:, :, :, 0], chroma[:, :, :, -1])
    return torch.cat(edges, 2)


def _labels(chroma: Tensor, difficulty: Difficulty) -> Tensor:
    """Return the number of the object that each pixel belongs to, (b, h, w), counted from 1 through all images."""
    known = hues(difficulty)
    if chroma.shape[-1] >= SMOOTHED:
        chroma = avg_pool2d(chroma, 3, stride=1, padding=1, count_include_pad=False)
    shares = torch.einsum("kc,bchw->bkhw", known / known.square().sum(1, keepdim=True), chroma)
    nearest = torch.einsum("kc,bchw->bkhw", known / known.norm(dim=1, keepdim=True), chroma).argmax(1)
    inside = shares.gather(1, nearest[:, None])[:, 0] > INSIDE
    planes = one_hot(nearest, len(known)).movedim(3, 1).bool() & inside[:, None]
    within = np.zeros((3, 3, 3, 3), dtype=bool)
    within[1, 1] = True  # neighbours of the same image and colour, corners too
    labels = ndimage.label(planes.numpy(), within)[0].sum(1)
    sizes = np.bincount(labels.ravel())
    least = SPECK * min(areas()[shape] for shape in SHAPES[: difficulty.shapes]) * min(difficulty.radii)[0] ** 2
    objects = sizes >= least * labels[0].size
    objects[0] = False
    labels = np.where(objects, np.cumsum(objects), 0)[labels]
    grown = ndimage.grey_dilation(labels, size=(1, 3, 3))
    return torch.from_numpy(np.where(labels, labels, grown).astype(np.int64))
