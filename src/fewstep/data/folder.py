"""A folder of images, with class sub-folders, with metadata.jsonl, or flat."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from fewstep.batch import Batch
from fewstep.data.base import Data, digest
from fewstep.data.conditions import Conditions, conditions_of
from fewstep.data.decode import COLOUR, GREY, Unusable, decode
from fewstep.data.further import Further
from fewstep.data.metadata import FURTHER
from fewstep.data.scan import Listing, scan
from fewstep.data.survey import Progress, Survey, common_side, crew, survey
from fewstep.errors import DataError, RecipeError
from fewstep.types import Cond

__all__ = ["ImageFolder"]


@final
@dataclass(frozen=True, eq=False, repr=False)
class ImageFolder(Data):
    """Square images of one size from a folder; made by ``ImageFolder.open``.

    ``captions`` one per item, or empty; ``skipped`` what could not be used, each as "name: reason"; ``further`` the
    images that belong to items, by their columns.
    """

    name: str
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    captions: tuple[str, ...]
    skipped: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: Int64[Tensor, " items"] | None
    pixels: UInt8[Tensor, "items channels size size"] | None
    notes: dict[str, str]
    content: str
    further: Mapping[str, Further] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        path: str | Path,
        size: int | None = None,
        channels: int = 3,
        bad_share: float = 0.01,
        memory_limit: int = 4 << 30,
        progress: Progress | None = None,
    ) -> "ImageFolder":
        """List, decode and check every image of the folder ``path``, in the order of the names.

        ``size`` side of the square images, default the most common short side; ``channels`` 1 (grey) or 3 (colour);
        ``bad_share`` the share of images that may be skipped because they cannot be used; ``memory_limit`` bytes: the
        pixels stay in memory when they need no more, else they are decoded again for each batch; ``progress`` is
        called with images done and images in all.

        Raises ``DataError`` when the folder follows no known layout or too many images are bad, and ``RecipeError``
        when a number is out of range.
        """
        if (size is not None and size < 1) or channels not in (1, 3) or not 0 <= bad_share <= 1:
            raise RecipeError(
                f"Images of size {size} with {channels} channels and a bad share of {bad_share} were asked for. "
                "Accepted: a size of at least 1, 1 (grey) or 3 (colour) channels, a share from 0 to 1."
            )
        listing = scan(Path(path))
        paths = [listing.root / entry.name for entry in listing.entries]
        side = common_side(paths) if size is None else size
        keep = len(paths) * channels * side * side <= memory_limit
        found = survey(paths, side, channels, keep=keep, progress=progress)
        _refuse_too_many_bad(listing, found, bad_share)
        return _assemble(listing, found, (channels, side, side))

    @property
    def lazy(self) -> bool:
        """Tell whether the images did not fit in memory."""
        return self.pixels is None

    def __len__(self) -> int:
        return len(self.paths)

    def batch(self, indices: Sequence[int]) -> Batch:
        """Return the images with these numbers. Raises ``DataError`` when a file can no longer be decoded."""
        if self.pixels is None:
            pixels = self._decoded(indices)
        else:
            pixels = self.pixels[torch.as_tensor(indices, dtype=torch.long)]
        return Batch(pixels.float() / 127.5 - 1, self.conditions(indices))

    def conditions(self, indices: Sequence[int]) -> Cond:
        return None if self.labels is None else self.labels[torch.as_tensor(indices, dtype=torch.long)]

    def captions_of(self, indices: Sequence[int]) -> list[str]:
        return [self.captions[i] for i in indices] if self.captions else super().captions_of(indices)

    def images_of(self, name: str, indices: Sequence[int]) -> Tensor:
        if name not in self.further:
            return super().images_of(name, indices)
        return self.further[name].read(name, indices, self.shape[-1])

    def _decoded(self, indices: Sequence[int]) -> Tensor:
        """Read pixels from the files again."""
        channels, size, _ = self.shape
        with crew() as pool:
            return torch.stack(list(pool.map(lambda number: _again(self.paths[number], size, channels), indices)))

    def describe(self) -> dict[str, str]:
        return dict(self.notes)

    def fingerprint(self) -> str:
        return self.content


def _again(path: Path, size: int, channels: int) -> Tensor:
    """Read an image that was good when the folder was opened."""
    try:
        return decode(path, size, channels).pixels
    except Unusable as error:
        raise DataError(
            f"{path} was fine when the folder was opened, but now {error}. Put the file back, or open the folder again."
        ) from error


def _bad(listing: Listing, found: Survey) -> tuple[str, ...]:
    """List every image that cannot be used, as "name: reason"."""
    facts = zip(listing.entries, found.facts, strict=True)
    broken = [f"{entry.name}: {fact.reason}" for entry, fact in facts if fact.reason]
    return tuple(broken + [f"{name}: is not listed in metadata.jsonl" for name in listing.unlisted])


def _refuse_too_many_bad(listing: Listing, found: Survey, bad_share: float) -> None:
    """Raise when nothing is good, or when more than ``bad_share`` of all images is bad."""
    bad, total = _bad(listing, found), len(listing.entries) + len(listing.unlisted)
    reasons = {fact.reason for fact in found.facts}
    if reasons == {GREY}:
        raise DataError(
            f"All {total} images in {str(listing.root)!r} are grey, but colour (channels=3) was asked for. "
            "Open the folder with channels=1, or convert the files to RGB if colour is meant."
        )
    if reasons == {COLOUR}:
        raise DataError(
            f"All {total} images in {str(listing.root)!r} are in colour, but grey (channels=1) was asked for. "
            "Open the folder with channels=3, or convert the files to grey if grey is meant."
        )
    if not found.good or len(bad) > bad_share * total:
        more = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise DataError(
            f"{len(bad)} of {total} images in {str(listing.root)!r} cannot be used, more than the accepted share of "
            f"{bad_share:.1%}: {'; '.join(bad[:5])}{more}. Repair or remove these files, convert grey ones to RGB "
            "(or the other way), or accept a larger share in Python: ImageFolder.open(..., bad_share=...)."
        )


def _assemble(listing: Listing, found: Survey, shape: tuple[int, int, int]) -> ImageFolder:
    """Build the data, with everything about bad images left out."""
    given, good, bad = conditions_of(listing), found.good, _bad(listing, found)
    labels = [given.labels[number] for number in good] if given.classes else []
    captions = tuple(given.captions[number] for number in good) if given.captions else ()
    digests = [found.facts[number].digest for number in good]
    further = _further(listing, good)
    digests += [each.digest() for each in further.values()]
    return ImageFolder(
        name=listing.root.resolve().name,
        shape=shape,
        classes=given.classes,
        captions=captions,
        skipped=bad,
        paths=tuple(listing.root / listing.entries[number].name for number in good),
        labels=torch.tensor(labels) if given.classes else None,
        pixels=found.pixels,
        notes=_notes(listing, found, given, shape[-1], shape[0]),
        content=digest([repr((shape, given.classes, labels, captions)).encode(), *digests]),
        further=further,
    )


def _further(listing: Listing, good: Sequence[int]) -> dict[str, Further]:
    """Return the further images of items, by the columns that there are."""
    entries = [listing.entries[number] for number in good]
    columns = [column for column in FURTHER if any(column in entry.further for entry in entries)]
    return {each: Further.of(listing.root, each, entries) for each in columns}


def _notes(listing: Listing, found: Survey, given: Conditions, size: int, channels: int) -> dict[str, str]:
    """Write what ``describe`` says: always the first four, the others when there is something to say."""
    facts = [found.facts[number] for number in found.good]
    sides = [fact.side for fact in facts]
    small = [side for side in sides if 2 * side < size]
    transparent = sum(fact.transparent for fact in facts)
    bad = _bad(listing, found)
    where = "decoded for each batch" if found.pixels is None else f"in memory, {found.pixels.numel() / 2**20:.1f} MiB"
    notes = {
        "data": f"image folder {listing.root}",
        "items": f"{len(facts):,} {'grey' if channels == 1 else 'colour'} images of {size}x{size}, {where}",
        "condition": given.why,
        "further": ", ".join(_further(listing, found.good)),
        "resize": f"centre square of short sides {min(sides)} to {max(sides)}, Lanczos to shrink, bicubic to enlarge",
        "enlarged": f"{len(small)} images more than 2x, the smallest from {min(small)} pixels" if small else "",
        "transparent": f"{transparent} images laid on white" if transparent else "",
        "skipped": f"{len(bad)} images: {'; '.join(bad[:5])}{'; ...' if len(bad) > 5 else ''}" if bad else "",
        "ignored": listing.ignored,
    }
    return {topic: text for topic, text in notes.items() if text}
