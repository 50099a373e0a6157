"""Diffusers pipelines as teachers; needs ``pip install fewstep[diffusers]``."""

from fewstep.interop.attention import away_processors, turned_away
from fewstep.interop.bridge import Bridge, bridge_of
from fewstep.interop.encoded import Encoded
from fewstep.interop.open import is_pipeline, open_pipe, reopened
from fewstep.interop.packing import Packing
from fewstep.interop.pipe import Pipe, at_home, on_levels
from fewstep.interop.readers import LongPrompts
from fewstep.interop.single import as_folder

__all__ = [
    "Bridge",
    "Encoded",
    "LongPrompts",
    "Packing",
    "Pipe",
    "as_folder",
    "at_home",
    "away_processors",
    "bridge_of",
    "is_pipeline",
    "on_levels",
    "open_pipe",
    "reopened",
    "turned_away",
]
