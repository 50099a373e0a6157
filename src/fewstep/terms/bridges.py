"""How a consistency cost gets from x_t to its cleaner neighbour x_r."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch

from fewstep.errors import RecipeError
from fewstep.solvers import Heun, Solver
from fewstep.terms.states import stored_state
from fewstep.times import Schedule, between
from fewstep.turn import Noised, Turn
from fewstep.types import T, X

__all__ = ["Bridge", "DataBridge", "JumpBridge", "StoredBridge", "TeacherBridge"]


class Bridge(ABC):
    """A way from t to r < t."""

    @abstractmethod
    def __call__(self, turn: Turn, noised: Noised, r: T) -> X:
        """Return x at time r, (b, ...); raise ``RecipeError`` where no teacher can follow what the learner is told."""

    def networks(self) -> tuple[str, ...]:
        """Return the names of the networks the bridge asks for."""
        return ()


@dataclass(frozen=True)
class DataBridge(Bridge):
    """``x_r = alpha_r x0 + sigma_r z`` with the x0 and the z of x_t: no teacher.  Source: arXiv 2303.01469, eq. 10.

    Its mean over x0 given x_t is the DDIM step of the ideal denoiser.
    """

    def __call__(self, turn: Turn, noised: Noised, r: T) -> X:
        """Return the same item with the same noise at the lower level."""
        if turn.rule is not None:
            raise RecipeError("guidance is drawn, but the data bridge has no teacher that follows it; use another.")
        return turn.process.noise(noised.x0, noised.z, r)


@dataclass(frozen=True)
class TeacherBridge(Bridge):
    """``substeps`` steps of a solver along a frozen teacher, even in the logarithm of the noise level.

    With the ``Stochastic`` solver it is SCott's bridge (arXiv 2403.01505), with Heun that of consistency
    distillation.  Guidance that is drawn goes on top of the teacher's own rules.  Source: arXiv 2303.01469, eq. 6.
    """

    teacher: str = "teacher"
    solver: Solver = field(default_factory=Heun)
    substeps: int = 1

    def networks(self) -> tuple[str, ...]:
        """Return the teacher."""
        return (self.teacher,)

    @torch.no_grad()
    def __call__(self, turn: Turn, noised: Noised, r: T) -> X:
        """Return the teacher's x at time r."""
        times = between(turn.process, noised.t, r, self.substeps)
        return self.solver(turn.guided(self.teacher), noised.x, times, turn.c, turn.draws)


@dataclass(frozen=True)
class JumpBridge(Bridge):
    """One jump of the learner itself ("") or of one of its averages, without a graph: the student as its own solver.

    Source: shortcut models, arXiv 2410.12557, section 3.2; with a snapshot of the student, progressive distillation.
    """

    network: str = ""

    @torch.no_grad()
    def __call__(self, turn: Turn, noised: Noised, r: T) -> X:
        """Return the flow map's x at time r."""
        return turn.flow_map(f"{turn.me}.{self.network}" if self.network else "")(noised.x, noised.t, r, turn.c)


@dataclass(frozen=True)
class StoredBridge(Bridge):
    """Further along the stored trajectory of the teacher, however far: no teacher is asked.

    Goes with the states ``stored_path`` of the same schedule.
    """

    schedule: Schedule

    def __call__(self, turn: Turn, noised: Noised, r: T) -> X:
        """Return the stored state at r."""
        if turn.rule is not None:
            raise RecipeError("guidance is drawn, but stored trajectories have one of their own; use another bridge.")
        return stored_state(turn.batch, self.schedule, r)
