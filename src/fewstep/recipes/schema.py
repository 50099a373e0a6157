"""What a recipe may say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fewstep.guidance import Guidance
from fewstep.predict import Prediction
from fewstep.process import Process
from fewstep.sampling import Sampler
from fewstep.solvers import Heun, Solver
from fewstep.terms import Objective
from fewstep.times import Schedule
from fewstep.training import Ema, Optimiser, Rollout

__all__ = ["FrozenSpec", "LearnerSpec", "PairsSpec", "Recipe"]


@dataclass(frozen=True)
class LearnerSpec:
    """A learner: its network (``from`` the teacher, or ``network`` by name), objective, optimiser and pace.

    With ``from``, ``network`` may change settings of the teacher's.  ``heads`` names the part of the network that a
    critic's head reads.  ``after`` is the first batch of its turns; below 1 it is the share of all batches.
    """

    objective: Objective
    optimiser: Optimiser
    from_: str | None = None
    network: Mapping[str, Any] | None = None
    prediction: Prediction | None = None
    second_time: bool = False
    heads: str | None = None
    every: int = 1
    after: float = 0.0
    accumulate: int = 1
    clip: float | None = None
    averages: Mapping[str, Ema] = field(default_factory=dict)


@dataclass(frozen=True)
class FrozenSpec:
    """A frozen network: the teacher under guidance rules, the first one innermost."""

    guidance: tuple[Guidance, ...] = ()


@dataclass(frozen=True)
class PairsSpec:
    """Pairs of noise and teacher sample that are made before the training: ``count`` of them, ``shard`` a file."""

    schedule: Schedule
    count: int = 20_000
    solver: Solver = field(default_factory=Heun)
    steps: int = 18
    shard: int = 2_500
    guidance: tuple[Guidance, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """A paper as data.  ``steps`` batches of ``batch`` items (per process); the student is the learner ``student``.

    ``process`` and ``sigma_data`` are the teacher's unless given; without a teacher, ``sigma_data`` is measured.
    ``looks`` times the student is looked at, scored on ``judged`` samples, and saved; the best weights are the result.
    ``keep`` names the average of the student that is sampled, judged and saved ("" = the weights themselves).
    """

    title: str
    source: str
    purpose: str
    learners: Mapping[str, LearnerSpec]
    sampler: Sampler
    steps: int
    batch: int = 128
    keep: str = ""
    process: Process | None = None
    sigma_data: float | None = None
    rollout: Rollout | None = None
    frozen: Mapping[str, FrozenSpec] = field(default_factory=dict)
    pairs: PairsSpec | None = None
    looks: int = 20
    judged: int = 1024

    @property
    def needs_teacher(self) -> bool:
        """Whether a teacher must be given."""
        return bool(self.frozen or self.pairs or any(spec.from_ for spec in self.learners.values()))
