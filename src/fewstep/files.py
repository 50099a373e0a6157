"""Files and folders that are either whole or absent, and logs in lines: a reader never takes half for a whole."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fewstep.errors import WeightsError

__all__ = ["CACHE", "append_line", "whole_folder", "write_whole"]


CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fewstep"
"""Where things are kept that runs share and that can be made again: networks that judge, latents, unpacked data."""


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it there in one step; missing folders are made.

    Raises ``WeightsError`` when the disk is full or not writable; the file that was there stays as it was.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        raise _unwritten(path, error) from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Add a line to a file that is read while it is written; its end of line says that it is whole.

    Raises ``WeightsError`` when the disk is full or not writable.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
    except OSError as error:
        raise _unwritten(path, error) from error


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to write into; when the block ends well it is moved to ``path``, else removed.

    Leftovers of writers that were killed are removed too.  Raises ``WeightsError`` when the disk is full.
    """
    for leftover in path.parent.glob(f".{path.name}.*.part"):
        shutil.rmtree(leftover, ignore_errors=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        draft.mkdir(parents=True)
        yield draft
        _replace_folder(draft, path)
    except OSError as error:
        raise _unwritten(path, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _replace_folder(draft: Path, path: Path) -> None:
    """Move a folder over another one; the old one is kept until the new one stands."""
    if not path.exists():
        os.replace(draft, path)
        return
    old = path.with_name(f".{path.name}.{os.getpid()}.old.part")
    os.replace(path, old)
    os.replace(draft, path)
    shutil.rmtree(old, ignore_errors=True)


def _unwritten(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"{path} could not be written: {error}. What was saved before is untouched. Make room or "
        "give another folder with --out, then run the same command again: it continues from the last checkpoint."
    )
