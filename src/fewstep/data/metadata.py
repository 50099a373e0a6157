"""``metadata.jsonl`` of a folder of images, as Hugging Face ``imagefolder`` defines it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from fewstep.data.decode import SUFFIXES
from fewstep.errors import DataError

__all__ = ["FURTHER", "Entry", "read_metadata"]

FURTHER = ("control", "mask", "source")  # columns (ours) of further images, for pipelines that are told one
EXAMPLE = '{"file_name": "0001.png", "text": "a caption"}'


@dataclass(frozen=True)
class Entry:
    """One image: its path relative to the folder, the name of its class and its caption, where known.

    ``further`` are the paths of images that belong to it, by their columns.
    """

    name: str
    label: str | None = None
    caption: str | None = None
    further: Mapping[str, str] = field(default_factory=dict)


def read_metadata(file: Path) -> tuple[tuple[int, Entry], ...]:
    """Return the entries of a metadata.jsonl with their line numbers, in the order of the file.

    ``file_name`` is required: relative, without ``..``, no URL. ``text`` is the caption, none if it is blank, ``label``
    a class name or a number from 0; each is given on all lines or on none. ``control``, ``mask`` and ``source``, or
    ``control_file_name`` and so on, are further images if they end as one does. Other keys are passed over, and so are
    empty lines.
    Raises ``DataError`` with the number of the line that breaks this.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 text ({error}). Save it as UTF-8, one JSON object a line.") from error
    numbered = enumerate(lines, start=1)
    entries = tuple((number, _entry(line, f"Line {number} of {file}")) for number, line in numbered if line.strip())
    if not entries:
        raise DataError(f"{file} has no entries. Write one line per image, such as {EXAMPLE}, or remove the file.")
    _all_or_none(file, "label", {number: entry.label for number, entry in entries})
    _all_or_none(file, "text", {number: entry.caption for number, entry in entries})
    return entries


def _all_or_none(file: Path, key: str, values: dict[int, str | None]) -> None:
    """Raise for a key that only some lines have: it would leave the condition of the others open."""
    without = [number for number, value in values.items() if value is None]
    if without and len(without) < len(values):
        raise DataError(
            f"Line {without[0]} of {file} has no {key!r}, but other lines do; in all it is absent or blank in "
            f"{len(without)} of {len(values)} lines. Give {key!r} on every line or on none."
        )


def _entry(line: str, where: str) -> Entry:
    """Read one line of the file; ``where`` begins the message when it is broken."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where} is broken: {error.msg} at column {error.colno} of {line[:80]!r}. "
            f"Each line must be one JSON object such as {EXAMPLE}. Correct or remove it."
        ) from error
    if not isinstance(record, dict) or not isinstance(record.get("file_name"), str):
        raise DataError(f"{where} has no 'file_name': {line[:80]!r}. Each line needs one, such as {EXAMPLE}.")
    name, further = _relative(record["file_name"], where), _further(record, where)
    return Entry(name, _label(record.get("label"), where), _caption(record.get("text"), where), further)


def _further(record: Mapping[str, object], where: str) -> dict[str, str]:
    """Return the paths of further images, by their columns; a ``source`` may well be something else, a name, say."""
    found = {}
    for column in FURTHER:
        for key in (column, f"{column}_file_name"):
            value = record.get(key)
            if isinstance(value, str) and "://" not in value and PurePosixPath(value).suffix.lower() in SUFFIXES:
                found[column] = _relative(value, where, key)
    return found


def _relative(name: str, where: str, key: str = "file_name") -> str:
    """Return the file name as a plain relative path; anything that leaves the folder is refused."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "://" in name or "\\" in name or not path.parts:
        raise DataError(
            f"{where} gives {key} {name!r}. Accepted is a path relative to the folder of metadata.jsonl, "
            "with forward slashes, without '..', and no URL."
        )
    return path.as_posix()


def _label(value: object, where: str) -> str | None:
    """Return a class name, from a name or from a number that is not negative."""
    match value:
        case None:
            return None
        case str() if value:
            return value
        case int() if not isinstance(value, bool) and value >= 0:
            return str(value)
    raise DataError(
        f"{where} gives label {json.dumps(value)}, which is outside the accepted range: a whole number from 0, or the "
        "name of a class. Give images without a class a class of their own, or leave them out."
    )


def _caption(value: object, where: str) -> str | None:
    """Return the caption, which must be one text; a blank one counts as none, as that of an empty file does."""
    match value:
        case None | str():
            return value if value is None or value.strip() else None
    raise DataError(
        f"{where} gives text {json.dumps(value)[:80]}. Accepted is one text in quotes; give one caption a line."
    )
