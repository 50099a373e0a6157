"""Learners that take turns, and the loop that lets them.

``train`` is a generator: logging, looking, saving and stopping are the caller's own loop.
"""

from fewstep.training.average import Average, Ema
from fewstep.training.learner import Learner
from fewstep.training.loop import Report, Training, train
from fewstep.training.optimisers import Adam, AdamW, Optimiser, RAdam
from fewstep.training.rollouts import BackwardSimulation, OneStep

__all__ = [
    "Adam",
    "AdamW",
    "Average",
    "BackwardSimulation",
    "Ema",
    "Learner",
    "OneStep",
    "Optimiser",
    "RAdam",
    "Report",
    "Training",
    "train",
]
