"""The families of diffusers pipelines that can be teachers, one file each."""

from fewstep.interop.families.base import Family
from fewstep.interop.families.dit import DiT
from fewstep.interop.families.extra import Extra
from fewstep.interop.families.flux import Flux
from fewstep.interop.families.pixart import PixArt
from fewstep.interop.families.sana import Sana
from fewstep.interop.families.sd import SD
from fewstep.interop.families.sd3 import SD3
from fewstep.interop.families.sdxl import SDXL
from fewstep.interop.families.unconditional import Unconditional

__all__ = ["FAMILIES", "SD", "SD3", "SDXL", "DiT", "Extra", "Family", "Flux", "PixArt", "Sana", "Unconditional"]

FAMILIES: tuple[Family, ...] = (SD(), SDXL(), SD3(), Flux(), PixArt(), Sana(), DiT(), Unconditional())
