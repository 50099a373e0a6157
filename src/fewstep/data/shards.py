"""WebDataset shards, unpacked once into a folder of images like any other."""

import json
import tarfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path, PurePosixPath

from fewstep.data.scan import SUFFIXES
from fewstep.errors import DataError
from fewstep.files import whole_folder, write_whole

__all__ = ["shards_of", "unpacked"]

TEXTS, KEYS = (".txt", ".text", ".caption"), ("text", "caption")  # as diffusers' training scripts look for them


def shards_of(place: Path) -> tuple[Path, ...]:
    """Return the .tar files of a place: itself, or those in a folder without images; none for anything else."""
    if place.suffix == ".tar" and place.is_file():
        return (place,)
    if not place.is_dir() or any(each.suffix.lower() in SUFFIXES for each in place.iterdir()):
        return ()
    return tuple(sorted(place.glob("*.tar")))


def unpacked(shards: tuple[Path, ...], cache: Path) -> Path:
    """Return a folder with the images of the shards and a metadata.jsonl; one that is there is not made again.

    A sample is the files with one name up to the first dot: an image, and a caption (.txt, .text, .caption, or "text"
    or "caption" in its .json) or a class (.cls).  It lies in ``cache``, named by the shards' names, sizes and times.
    Raises ``DataError`` for a shard that cannot be read and for samples without an image.
    """
    about = [(str(each.resolve()), each.stat().st_size, each.stat().st_mtime_ns) for each in shards]
    home = cache / "unpacked" / sha256(repr(about).encode()).hexdigest()[:16]
    if not home.is_dir():
        home.parent.mkdir(parents=True, exist_ok=True)
        with whole_folder(home) as draft:
            lines = [json.dumps(line) for number, shard in enumerate(shards) for line in _unpack(shard, number, draft)]
            write_whole(draft / "metadata.jsonl", ("\n".join(lines) + "\n").encode())
    return home


def _unpack(shard: Path, number: int, draft: Path) -> Iterator[dict[str, str | int]]:
    """Write the images of a shard; yield the line of the metadata for each."""
    for key, parts in _samples(shard).items():
        image = next((suffix for suffix in parts if suffix.lower() in SUFFIXES), None)
        if image is None:
            raise DataError(
                f"The sample {key!r} of {shard} has no image, only {', '.join(sorted(parts))}. Accepted: {SUFFIXES}."
            )
        name = f"{number:05}/{sha256(key.encode()).hexdigest()[:20]}{image.lower()}"
        write_whole(draft / name, parts[image])
        yield {"file_name": name, **_words(parts)}


def _samples(shard: Path) -> dict[str, dict[str, bytes]]:
    """Return the files of each sample by their suffix."""
    samples: dict[str, dict[str, bytes]] = {}
    try:
        with tarfile.open(shard) as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isfile() else None
                path = PurePosixPath(member.name)
                key, dot, suffix = path.name.partition(".")
                if content is not None and dot and key:
                    samples.setdefault(str(path.parent / key), {})[f".{suffix}"] = content.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{shard} cannot be read as a tar file ({error}). Fetch it again, or take it out.") from error
    return samples


def _words(parts: dict[str, bytes]) -> dict[str, str | int]:
    """Return what a sample says of its image, for a line of metadata."""
    said: dict[str, str | int] = {}
    known = json.loads(parts[".json"]) if ".json" in parts else {}
    text = next((parts[suffix].decode(errors="replace") for suffix in TEXTS if suffix in parts), None)
    text = text or next((str(known[key]) for key in KEYS if known.get(key)), None)
    if text:
        said["text"] = " ".join(text.split())
    if ".cls" in parts:
        said["label"] = int(parts[".cls"])
    return said
