"""Guidance: functions from denoiser to denoiser, which compose: ``Rescale(0.7)(CFG(4.0)(teacher))``.

One meaning of the scale for all that mix answers: 1 is the plain conditional denoiser, 0 the unconditional one.  For
those that mix inside of the network's attention, 0 is the plain one.
"""

from fewstep.guidance.away import NAG, NASA, Away
from fewstep.guidance.base import Guidance, Guided
from fewstep.guidance.cfg import CFG
from fewstep.guidance.edit import EditCFG
from fewstep.guidance.interval import Interval
from fewstep.guidance.override import Override
from fewstep.guidance.rescale import Rescale
from fewstep.guidance.switch import PromptSwitch

__all__ = [
    "CFG",
    "NAG",
    "NASA",
    "Away",
    "EditCFG",
    "Guidance",
    "Guided",
    "Interval",
    "Override",
    "PromptSwitch",
    "Rescale",
]
