"""WebDataset shards, unpacked once into a folder of images like any other."""

import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath

from fewstep.data.scan import SUFFIXES
from fewstep.errors import DataError
from fewstep.files import whole_folder, write_whole

__all__ = ["shards_of", "unpacked"]

RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")  # as in name-{000000..000099}.tar
STRANGE = re.compile(r"[^\w.-]")  # what is left out of the names of files; they are told apart by a digest
TEXTS, KEYS = (".txt", ".text", ".caption"), ("text", "caption")  # as diffusers' training scripts look for them


def shards_of(place: Path) -> tuple[Path, ...]:
    """Return the .tar files of a place: itself, or those in a folder without images; none for anything else.

    A name such as ``name-{000000..000099}.tar`` stands for all of them; raises ``DataError`` when one is missing.
    """
    if place.suffix == ".tar" and not place.exists() and (found := RANGE.search(str(place))):
        return _numbered(str(place), found)
    if place.suffix == ".tar" and place.is_file():
        return (place,)
    if not place.is_dir() or any(each.suffix.lower() in SUFFIXES for each in place.iterdir()):
        return ()
    return tuple(sorted(place.glob("*.tar")))


def unpacked(shards: tuple[Path, ...], cache: Path) -> Path:
    """Return a folder with the images of the shards and a metadata.jsonl; one that is there is not made again.

    A sample is the files with one name up to the first dot: an image, and a caption (.txt, .text, .caption, or "text"
    or "caption" in its .json) or a class (.cls).  It lies in ``cache``, named by the shards' names, sizes and times.
    Raises ``DataError`` for a shard that cannot be read, for shards without a sample, for samples of one name, without
    an image, or with a text, .json or .cls that is broken, and where some have a caption or a class and others have
    none.
    """
    about = [(str(each.resolve()), each.stat().st_size, each.stat().st_mtime_ns) for each in shards]
    home = cache / "unpacked" / sha256(repr(about).encode()).hexdigest()[:16]
    if not home.is_dir():
        home.parent.mkdir(parents=True, exist_ok=True)
        with whole_folder(home) as draft:
            told = {where: line for number, shard in enumerate(shards) for where, line in _unpack(shard, number, draft)}
            if not told:
                raise DataError(f"There is no sample in {', '.join(map(str, shards[:5]))}. Fetch the shards again.")
            _refuse_gaps(told, "text", "caption (.txt, .text, .caption, or 'text' or 'caption' in a .json)")
            _refuse_gaps(told, "label", "class (.cls)")
            lines = "".join(f"{json.dumps(line)}\n" for line in told.values())
            write_whole(draft / "metadata.jsonl", lines.encode())
    return home


def _numbered(pattern: str, found: re.Match[str]) -> tuple[Path, ...]:
    """Return the files that a pattern stands for, all of which must be there."""
    first, last = found.groups()
    head, tail = pattern[: found.start()], pattern[found.end() :]
    shards = [Path(f"{head}{number:0{len(first)}}{tail}") for number in range(int(first), int(last) + 1)]
    missing = [str(each) for each in shards if not each.is_file()]
    if missing or not shards:
        said = f"{len(missing)} of them are not there: {', '.join(missing[:5])}" if shards else "it goes backwards"
        raise DataError(
            f"{pattern} stands for {len(shards)} shards, but {said}. Give the numbers of the first and the last one, "
            "with as many digits as the names have, or the folder that holds them."
        )
    return tuple(shards)


def _refuse_gaps(told: Mapping[str, Mapping[str, str | int]], key: str, named: str) -> None:
    """Raise where some samples say something and others do not."""
    without = [where for where, line in told.items() if key not in line]
    if without and len(without) < len(told):
        more = f", and {len(without) - 5} more" if len(without) > 5 else ""
        raise DataError(
            f"{len(without)} of {len(told)} samples have no {named}, the others have: {', '.join(without[:5])}{more}. "
            "Write theirs, or take these samples out."
        )


def _unpack(shard: Path, number: int, draft: Path) -> Iterator[tuple[str, dict[str, str | int]]]:
    """Write the images of a shard; yield which sample of it each is, and its line of the metadata."""
    for key, parts in _samples(shard).items():
        where = f"the sample {key!r} of {shard}"
        image = next((suffix for suffix in parts if suffix in SUFFIXES), None)
        if image is None:
            raise DataError(f"T{where[1:]} has no image, only {', '.join(sorted(parts))}. Accepted: {SUFFIXES}.")
        name = f"{number:05}/{sha256(key.encode()).hexdigest()[:20]}-{STRANGE.sub('_', key)[-60:]}{image}"
        write_whole(draft / name, parts[image])
        yield where, {"file_name": name, **_words(parts, where)}


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
                    parts, kind = samples.setdefault(str(path.parent / key), {}), f".{suffix.lower()}"
                    if kind in parts:
                        raise DataError(
                            f"{shard} has two files {path.parent / key}{kind}, so that one of two samples would be "
                            "lost. Give each sample a name of its own."
                        )
                    parts[kind] = content.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{shard} cannot be read as a tar file ({error}). Fetch it again, or take it out.") from error
    return samples


def _words(parts: Mapping[str, bytes], where: str) -> dict[str, str | int]:
    """Return what a sample says of its image, for a line of metadata."""
    said: dict[str, str | int] = {}
    known = _known(parts[".json"], where) if ".json" in parts else {}
    texts = [_text(parts[suffix], suffix, where) for suffix in TEXTS if suffix in parts]
    texts += [_told(known[key], key, where) for key in KEYS if known.get(key)]
    if text := next((" ".join(text.split()) for text in texts if text.strip()), None):
        said["text"] = text
    if ".cls" in parts:
        said["label"] = _label(parts[".cls"], where)
    return said


def _text(content: bytes, suffix: str, where: str) -> str:
    """Return what a text file holds."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"The {suffix} of {where} is no UTF-8 text ({error}). Save it as UTF-8.") from error


def _told(value: object, key: str, where: str) -> str:
    """Return a caption from a .json."""
    if not isinstance(value, str):
        raise DataError(f"The .json of {where} gives {key!r} {str(value)[:80]!r}; accepted is one text in quotes.")
    return value


def _known(content: bytes, where: str) -> Mapping[str, object]:
    """Return what a .json holds."""
    try:
        known = json.loads(content)
    except ValueError as error:  # no UTF-8, too
        raise DataError(f"The .json of {where} is broken ({error}). Mend it, or take the sample out.") from error
    if not isinstance(known, dict):
        raise DataError(f"The .json of {where} is {str(known)[:80]!r}; accepted is an object: {{...}}. Mend it.")
    return known


def _label(content: bytes, where: str) -> int:
    """Return the number in a .cls."""
    text = content.decode(errors="replace").strip()
    if not (text.isascii() and text.isdecimal()):
        raise DataError(f"The .cls of {where} is {text[:80]!r}; accepted is a whole number from 0. Mend it.")
    return int(text)
