"""Which images a folder holds and what is known about each, before any of them is decoded."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fewstep.data.decode import SUFFIXES
from fewstep.data.metadata import Entry, read_metadata
from fewstep.errors import DataError

__all__ = ["SUFFIXES", "Listing", "scan"]

ACCEPTED = "png, jpg, jpeg, webp, bmp, gif (first frame), tif and tiff"
LAYOUTS = (
    "Accepted: images directly in the folder, images in one sub-folder per class, images each with a .txt of the same "
    "name beside it that holds its caption, or images with a metadata.jsonl beside them, each line such as "
    '{"file_name": "0001.png", "text": "a caption"}.'
)
SPLITS = {"train", "test", "validation", "val", "valid", "dev"}  # the names that Hugging Face datasets know, and kin


@dataclass(frozen=True)
class Listing:
    """The images of a folder, sorted by name.

    ``source`` says where labels and captions come from, ``unlisted`` names images that the metadata do not mention,
    ``ignored`` says in words which other files there are.
    """

    root: Path
    entries: tuple[Entry, ...]
    source: str
    unlisted: tuple[str, ...] = ()
    ignored: str = ""


def scan(root: Path) -> Listing:
    """List the images under ``root``, with labels or captions from metadata.jsonl, text files or sub-folders.

    Raises ``DataError`` when ``root`` is no folder, holds no image, or does not follow one of the four layouts.
    """
    if not root.exists():
        raise DataError(
            f"The folder {str(root)!r} does not exist (looked for {root.absolute()}). Give an existing one."
        )
    if not root.is_dir():
        raise DataError(f"{str(root)!r} is a file, but a folder of images is needed. Give the folder that holds it.")
    names = sorted(_walk(root))
    images = tuple(name for name in names if PurePosixPath(name).suffix.lower() in SUFFIXES)
    others = tuple(name for name in names if PurePosixPath(name).suffix.lower() not in SUFFIXES)
    if not images:
        raise DataError(
            f"No image lies in {str(root)!r} ({_kinds(others) or 'it is empty'}). Formats: {ACCEPTED}. {LAYOUTS}"
        )
    if "metadata.jsonl" in others:
        return _with_metadata(root, images, tuple(name for name in others if name != "metadata.jsonl"))
    _refuse_other_metadata(root, others)
    beside = {str(PurePosixPath(name).with_suffix("")): name for name in others if name.endswith(".txt")}
    if any(str(PurePosixPath(name).with_suffix("")) in beside for name in images):
        return _with_texts(root, images, beside, tuple(name for name in others if not name.endswith(".txt")))
    return _with_folders(root, images, _kinds(others))


def _walk(root: Path) -> Iterator[str]:
    """Yield the names of all files relative to ``root``, with links followed, hidden and Mac archive files left out."""
    for folder, children, files in os.walk(root, followlinks=True):
        here = Path(folder)
        children[:] = [name for name in children if not _hidden(name) and not _is_loop(here, here / name)]
        yield from ((here / name).relative_to(root).as_posix() for name in files if not _hidden(name))


def _hidden(name: str) -> bool:
    """Tell files of the system from those of the person: .DS_Store, ._0001.png, .ipynb_checkpoints, __MACOSX."""
    return name.startswith(".") or name == "__MACOSX"


def _is_loop(parent: Path, child: Path) -> bool:
    """Tell whether ``child`` is a link to a folder that contains it."""
    return child.is_symlink() and parent.resolve().is_relative_to(child.resolve())


def _kinds(names: tuple[str, ...]) -> str:
    """Put other files into words: ``3 other files: .txt (2), .json (1)``."""
    suffixes = Counter(PurePosixPath(name).suffix.lower() or "no suffix" for name in names)
    counts = ", ".join(f"{suffix} ({count})" for suffix, count in suffixes.most_common(5))
    return f"{len(names)} other file{'s' if len(names) > 1 else ''}: {counts}" if names else ""


def _with_metadata(root: Path, images: tuple[str, ...], others: tuple[str, ...]) -> Listing:
    """List the entries of metadata.jsonl; each must point to an image that is there."""
    lines = read_metadata(root / "metadata.jsonl")
    known = set(images)
    missing = [f"line {number} ({entry.name})" for number, entry in lines if entry.name not in known]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(lines)} entries of {root / 'metadata.jsonl'} point to no image: "
            f"{', '.join(missing[:5])}. Each file_name must be the path of an existing image, relative to the folder "
            f"of metadata.jsonl ({ACCEPTED}). Correct or remove these lines, or put the files there."
        )
    entries = tuple(sorted((entry for _, entry in lines), key=lambda entry: entry.name))
    listed = {name for entry in entries for name in (entry.name, *entry.further.values())}
    unlisted = tuple(name for name in images if name not in listed)
    return Listing(root, entries, "metadata.jsonl", unlisted, _kinds(others))


def _with_texts(root: Path, images: tuple[str, ...], beside: Mapping[str, str], others: tuple[str, ...]) -> Listing:
    """Take the text file of the same name beside each image for its caption, as kohya's trainers do."""
    stems = {name: str(PurePosixPath(name).with_suffix("")) for name in images}
    if missing := [name for name, stem in stems.items() if stem not in beside]:
        raise DataError(
            f"{len(missing)} of {len(images)} images in {str(root)!r} have no .txt of the same name beside them, the "
            f"others have: {', '.join(missing[:5])}. Write their captions, or take these images out."
        )
    entries = tuple(Entry(name, caption=_caption(root / beside[stem])) for name, stem in stems.items())
    return Listing(root, entries, "the .txt beside each image", ignored=_kinds(others))


def _caption(path: Path) -> str:
    """Return the text of a file in one line; raise ``DataError`` for none."""
    try:
        text = " ".join(path.read_text(encoding="utf-8-sig").split())
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text ({error}). Save it as UTF-8.") from error
    if not text:
        raise DataError(f"{path} is empty; write the caption of its image, or take both out.")
    return text


def _refuse_other_metadata(root: Path, others: tuple[str, ...]) -> None:
    """Raise for metadata that would be passed over in silence: in a sub-folder, or in another format."""
    for name in others:
        path = PurePosixPath(name)
        if path.name == "metadata.jsonl":
            raise DataError(
                f"{name} lies in a sub-folder of {str(root)!r}. Give the folder that holds it: {root / path.parent}."
            )
        if path.name in ("metadata.csv", "metadata.parquet"):
            raise DataError(
                f"{root / name} is not read: of the formats for metadata only metadata.jsonl is accepted. Convert it, "
                f"for example with pandas: frame.to_json('metadata.jsonl', orient='records', lines=True)."
            )


def _with_folders(root: Path, images: tuple[str, ...], ignored: str) -> Listing:
    """Take sub-folders for classes when all images lie in some; no classes when none does."""
    inside = [name for name in images if "/" in name]
    if not inside:
        return Listing(root, tuple(Entry(name) for name in images), "a flat folder", ignored=ignored)
    if len(inside) < len(images):
        raise DataError(
            f"{len(images) - len(inside)} images lie directly in {str(root)!r} and {len(inside)} in its sub-folders, "
            f"so it is unclear whether the sub-folders are classes. {LAYOUTS} Move the images to one of these."
        )
    folders = {name.partition("/")[0] for name in inside}
    if "train" in folders and folders <= SPLITS:
        raise DataError(
            f"The sub-folders of {str(root)!r} are splits ({', '.join(sorted(folders))}), not classes. "
            f"Give one of them: {root / 'train'}."
        )
    entries = tuple(Entry(name, label=name.partition("/")[0]) for name in inside)
    return Listing(root, entries, "the sub-folders", ignored=ignored)
