"""Learners that take turns, and the loop that lets them.

``train`` is a generator: logging, looking, saving and stopping are the caller's own loop.
"""

from fewstep.couplings import Annealed, Coupling, Independent, Stored
from fewstep.training.average import Average, Ema
from fewstep.training.checkpoint import (
    checkpoints,
    load_weights,
    read_weights,
    restore,
    save_training,
    save_weights,
    weights_bytes,
)
from fewstep.training.collapse import Collapse, Looks
from fewstep.training.learner import Learner
from fewstep.training.loop import Report, Training, train
from fewstep.training.monitors import Connected, ExplodingCritic, Finite, Monitor, RunawayCritic, watch
from fewstep.training.optimisers import Adam, AdamW, Optimiser, RAdam
from fewstep.training.rollouts import BackwardSimulation, FromData, OneStep, Trajectory, Unrolled
from fewstep.training.transport import Transport
from fewstep.turn import Rollout, Turn

__all__ = [
    "Adam",
    "AdamW",
    "Annealed",
    "Average",
    "BackwardSimulation",
    "Collapse",
    "Connected",
    "Coupling",
    "Ema",
    "ExplodingCritic",
    "Finite",
    "FromData",
    "Independent",
    "Learner",
    "Looks",
    "Monitor",
    "OneStep",
    "Optimiser",
    "RAdam",
    "Report",
    "Rollout",
    "RunawayCritic",
    "Stored",
    "Training",
    "Trajectory",
    "Transport",
    "Turn",
    "Unrolled",
    "checkpoints",
    "load_weights",
    "read_weights",
    "restore",
    "save_training",
    "save_weights",
    "train",
    "watch",
    "weights_bytes",
]
