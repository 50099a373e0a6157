"""Diffusers pipelines as teachers; needs ``pip install fewstep[diffusers]``."""

from fewstep.interop.bridge import Bridge
from fewstep.interop.packing import Packing
from fewstep.interop.pipe import Pipe

__all__ = ["Bridge", "Packing", "Pipe"]
