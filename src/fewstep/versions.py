"""Which versions made a number."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import torch

__all__ = ["hardware", "versions"]

PACKAGES = ("fewstep", "torch", "accelerate", "torchmetrics", "numpy", "safetensors")


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
