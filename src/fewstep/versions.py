"""Which versions made a number."""

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

__all__ = ["commit", "hardware", "versions"]

PACKAGES = ("fewstep", "torch", "accelerate", "numpy", "safetensors")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def hardware() -> str:
    """Return the accelerator's name, or the number of CPU threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} CPU threads ({platform.machine()}, {sys.platform})"


def commit() -> str | None:
    """Return the short git hash of this package, with "+" when a file of it differs from the commit.

    None where the package is no part of a repository.  Measured numbers, which are written into the package, do not
    count as a difference.
    """
    package = Path(__file__).resolve().parent
    if _git(package, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None  # installed, perhaps below a repository of somebody else
    short = _git(package, "rev-parse", "--short", "HEAD")
    changed = _git(package, "status", "--porcelain", "--", ".", ":!recipes/measured.json")
    return None if short is None else f"{short}{'+' if changed else ''}"


def _git(folder: Path, *words: str) -> str | None:
    """Return what git says in a folder, None when it is not installed or refuses."""
    try:
        said = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return said.stdout.strip()
