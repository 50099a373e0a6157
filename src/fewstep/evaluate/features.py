"""A feature network for data of your own: trained here in seconds, the same from the same seed, nothing to download.

Distances between sets of images are distances between their features. Inception features judge photographs; for digits,
shapes or spectra a small classifier of the data at hand sees more. Images without labels get a network that tells by
which quarter turn an image was rotated.
"""

from collections.abc import Iterator
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import TypeAlias

import torch
from jaxtyping import Float, Int64
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fewstep.errors import DataError
from fewstep.files import write_whole

__all__ = ["Classifier", "cached_classifier", "extract", "train_classifier"]

VERSION = 1  # part of every fingerprint: raise it whenever a change below makes other weights
FEATURES = 64  # units before the logits
STEPS, BATCH, RATE = 300, 64, 2e-3  # 0.98 to 0.99 held-out accuracy on 8x8 digits, 1.6 s on one core
ROTATIONS = 4
Conv: TypeAlias = type[nn.Conv1d] | type[nn.Conv2d]


class Classifier(nn.Module):
    """A small convolutional classifier: strided stages down to about 4x4, a global average, 64 features, the logits.

    Takes images (n, channels, size, size) in [-1, 1], or signals (n, channels, size) with ``axes`` 1. ``trunk`` is the
    feature network, a module of its own, so that ``Judge.of(images, labels, classifier.trunk, classifier)`` needs no
    adapter.
    """

    def __init__(self, channels: int, size: int, classes: int, axes: int = 2) -> None:
        super().__init__()
        stages, width = _stages(channels, size, nn.Conv2d if axes == 2 else nn.Conv1d)
        pool = nn.AdaptiveAvgPool2d(1) if axes == 2 else nn.AdaptiveAvgPool1d(1)
        neck = (pool, nn.Flatten(), nn.Linear(width, FEATURES), nn.ReLU())
        self.trunk = nn.Sequential(*stages, *neck)
        self.head = nn.Linear(FEATURES, classes)

    def features(self, x: Float[Tensor, "n c *size"]) -> Float[Tensor, "n d"]:
        """The units before the logits, (n, 64), none negative."""
        units: Tensor = self.trunk(x)
        return units

    def forward(self, x: Float[Tensor, "n c *size"]) -> Float[Tensor, "n k"]:
        """The logits, (n, classes)."""
        logits: Tensor = self.head(self.features(x))
        return logits

    @torch.no_grad()
    def rescale(self, factor: float) -> None:
        """Multiply the features by a positive factor and leave the logits as they are (ReLU commutes with it)."""
        for weight in self.trunk[-2].parameters():
            weight.mul_(factor)
        self.head.weight.div_(factor)


def train_classifier(
    images: Float[Tensor, "n c *size"], labels: Int64[Tensor, " n"] | None, classes: int, seed: int = 0
) -> Classifier:
    """Train a classifier of the images, or of their quarter turns when there are no labels; frozen, in evaluation mode.

    Signals (n, channels, length) are taken as well when they have labels.

    The same arguments give the same weights, bit for bit on a CPU; the global random state is left alone. Items of
    class -1 ("no class") are skipped. The features are scaled to a mean square of 1 over the images, since the cubic
    kernel of ``kernel`` depends on the scale. Without labels (``None``, or ``classes`` 0) the network tells the four
    rotations apart and has no class accuracy.

    Raises ``DataError`` for images that are not square, signals without labels, and labels that are no classes.

    *Source* for the rotations: Unsupervised Representation Learning by Predicting Image Rotations, arXiv 1803.07728.
    """
    images, labels = _checked(images, labels, classes)
    net = _untrained(images, classes if labels is not None else ROTATIONS, seed)
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-2)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=STEPS)
    with torch.enable_grad():
        for x, y in _batches(images, labels, torch.Generator().manual_seed(seed)):
            optimiser.zero_grad()
            loss = cross_entropy(net(x), y, label_smoothing=0.05)  # keeps the features from growing without bound
            torch.autograd.backward(loss)
            optimiser.step()
            rate.step()
    net.eval().requires_grad_(False)
    net.rescale(float(extract(net.trunk, images).square().mean().clamp_min(1e-12).rsqrt()))
    return net


def cached_classifier(
    images: Float[Tensor, "n c *size"], labels: Int64[Tensor, " n"] | None, classes: int, folder: Path, seed: int = 0
) -> Classifier:
    """``train_classifier``, remembered in a folder under the fingerprint of its arguments.

    A file that cannot be read is replaced by training again, which gives the same weights.
    """
    kept, checked = _checked(images, labels, classes)
    path = folder / f"classifier-{_fingerprint(kept, checked, classes, seed)[:16]}.safetensors"
    net = _untrained(kept, classes if checked is not None else ROTATIONS, seed)
    if _restored(net, path):
        return net.eval().requires_grad_(False)
    net = train_classifier(images, labels, classes, seed)
    write_whole(path, save(net.state_dict()))
    return net


@torch.no_grad()
def extract(net: nn.Module, images: Float[Tensor, "n *dims"], chunk: int = 512) -> Float[Tensor, "n d"]:
    """What a network says of images, a chunk at a time, as float64 on the CPU.

    Raises ``DataError`` when the network does not return one finite vector per image.
    """
    weight = next((w for w in chain(net.parameters(), net.buffers()) if w.is_floating_point()), images)
    rows = torch.cat([net(part.to(weight)).double().cpu() for part in torch.split(images, chunk)])
    if rows.ndim != 2 or len(rows) != len(images) or not rows.isfinite().all():
        raise DataError(
            f"A feature network must return finite features of shape (n, d); {len(images)} images gave "
            f"{tuple(rows.shape)}, {'all' if rows.isfinite().all() else 'not all'} finite."
        )
    return rows


def _stages(channels: int, size: int, conv: Conv) -> tuple[list[nn.Module], int]:
    width, stride = 32, 2 if size > 32 else 1  # a full-size first stage is dear and blind on large images
    stages, size = [_stage(conv, channels, width, stride)], -(-size // stride)
    while size > 4:
        wider = min(2 * width, 128)
        stages.append(_stage(conv, width, wider, 2))
        width, size = wider, -(-size // 2)
    return [*stages, _stage(conv, width, width, 1)], width


def _stage(conv: Conv, before: int, after: int, stride: int) -> nn.Module:
    return nn.Sequential(conv(before, after, 3, stride, padding=1), nn.GroupNorm(8, after), nn.SiLU())


def _untrained(images: Tensor, classes: int, seed: int) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Classifier(images.shape[1], images.shape[-1], classes, images.ndim - 2).to(images.device)


def _checked(images: Tensor, labels: Tensor | None, classes: int) -> tuple[Tensor, Tensor | None]:
    if images.ndim == 3 and (labels is None or classes == 0):
        raise DataError(
            f"The classifier takes signals with labels only, and these, of shape {tuple(images.shape[1:])}, have none. "
            "Give a feature network of your own with --features."
        )
    if images.ndim != 3 and images.shape[-1] != images.shape[-2]:
        raise DataError(f"The classifier takes square images, not {images.shape[-2]} x {images.shape[-1]}: crop them.")
    if labels is None or classes == 0:
        return images.float(), None
    named = labels >= 0
    if not named.any() or int(labels.max()) >= classes:
        raise DataError(
            f"Labels must lie in 0 to {classes - 1}, or be -1 for no class; these lie in {int(labels.min())} to "
            f"{int(labels.max())}. Pass None for data without classes."
        )
    if named.all():  # no copy of what may be large
        return images.float(), labels
    return images[named].float(), labels[named]


def _batches(images: Tensor, labels: Tensor | None, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    turns = torch.arange(ROTATIONS, device=images.device).repeat_interleave(BATCH)
    for _ in range(STEPS):
        picks = torch.randint(len(images), (BATCH,), generator=generator).to(images.device)
        x = images[picks]
        if labels is not None:
            yield x, labels[picks]
        else:
            yield torch.cat([x.rot90(turn, (2, 3)) for turn in range(ROTATIONS)]), turns


def _fingerprint(images: Tensor, labels: Tensor | None, classes: int, seed: int) -> str:
    about = f"{VERSION} {tuple(images.shape)} {labels is None} {classes} {seed}"
    digest = sha256(about.encode())
    for tensor in (images, labels):
        if tensor is not None:
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _restored(net: Classifier, path: Path) -> bool:
    try:
        net.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError):  # absent, cut short, or of another shape
        return False
    return True
