"""Where the noisy x_t of a consistency cost comes from: noised data, the teacher's path, the student's own samples."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch

from fewstep.batch import Batch
from fewstep.couplings import Coupling, Independent
from fewstep.errors import RecipeError
from fewstep.sampling import few_step
from fewstep.solvers import DDIM, Solver
from fewstep.times import Schedule, between
from fewstep.turn import Noised, Turn
from fewstep.types import T, X

__all__ = ["Diffused", "OwnSamples", "States", "StoredPath", "TeacherPath", "stored_state"]


class States(ABC):
    """A law of x_t."""

    @abstractmethod
    def __call__(self, turn: Turn, t: T) -> Noised:
        """Return noisy items at the times t."""

    def networks(self) -> tuple[str, ...]:
        """Return the names of the networks that are asked for."""
        return ()


@dataclass(frozen=True)
class Diffused(States):
    """Data with noise: ``x_t = alpha x0 + sigma z``; ``coupling`` says which noise."""

    coupling: Coupling = field(default_factory=Independent)

    def __call__(self, turn: Turn, t: T) -> Noised:
        """Return the batch, diffused."""
        return turn.diffused(t, self.coupling)


@dataclass(frozen=True)
class TeacherPath(States):
    """``steps`` steps of the (guided) teacher from pure noise at ``start`` down to t: no data are needed.

    The clean items are the teacher's estimates at t.  Source: MLCM, arXiv 2406.05768, section 3.2.
    """

    start: float
    teacher: str = "teacher"
    solver: Solver = field(default_factory=DDIM)
    steps: int = 4

    def networks(self) -> tuple[str, ...]:
        """Return the teacher."""
        return (self.teacher,)

    @torch.no_grad()
    def __call__(self, turn: Turn, t: T) -> Noised:
        """Return states of the teacher's own trajectories."""
        teacher, process = turn.denoiser(self.teacher), turn.process
        top = torch.full_like(t, self.start)
        x = process.prior(turn.draws.normal(turn.batch.x0), top)
        x = self.solver(teacher, x, between(process, top, t, self.steps), turn.c, turn.draws)
        x0 = teacher(x, t, turn.c)
        return Noised(x0, t, process.eps(x, x0, t), x)


@dataclass(frozen=True)
class OwnSamples(States):
    """The student's own ``steps``-step samples from pure noise, noised to t: no data are needed.

    Source: TLCM, arXiv 2406.05768, section 3.3 (four steps, without a graph).
    """

    schedule: Schedule
    steps: int = 4

    @torch.no_grad()
    def __call__(self, turn: Turn, t: T) -> Noised:
        """Return diffused samples of the student."""
        times, like = self.schedule.steps(self.steps), turn.batch.x0
        z = torch.stack([turn.draws.normal(like) for _ in range(self.steps)])
        start = times[:1].to(t.device).expand(len(t))
        x = turn.process.prior(z[0], start)
        x0 = few_step(turn.flow_map(), x, times, turn.c, z=z[1:])
        fresh = turn.draws.normal(like)
        return Noised(x0, t, fresh, turn.process.noise(x0, fresh, t))


@dataclass(frozen=True)
class StoredPath(States):
    """Stored trajectories of the teacher: x at those of its times that ``schedule`` has; no teacher is asked.

    The clean items are the ends of the trajectories, with the noise that this makes of x_t.
    Raises ``RecipeError`` for a batch without trajectories, or with those of another schedule.
    """

    schedule: Schedule

    def __call__(self, turn: Turn, t: T) -> Noised:
        """Return the state of each item's trajectory at t."""
        x = stored_state(turn.batch, self.schedule, t)
        return Noised(turn.batch.x0, t, turn.process.eps(x, turn.batch.x0, t), x)


def stored_state(batch: Batch, schedule: Schedule, t: T) -> X:
    """Return where each item's stored trajectory stands at t, a time of the schedule or 0."""
    if batch.path is None:
        raise RecipeError(
            "stored trajectories are asked for, but this batch holds none; give the recipe 'pairs' with 'path: true'."
        )
    times = schedule.steps(batch.path.shape[1]).to(t.device)
    place = (times[None] - t[:, None]).abs().argmin(1)
    if not torch.allclose(times[place], t, rtol=1e-6, atol=1e-9):
        raise RecipeError(
            f"a time of {float(t[(times[place] - t).abs().argmax()]):.4g} is asked for, but the stored trajectories "
            f"stand at {[round(time, 4) for time in times.tolist()]}; let 'pairs' of the recipe, its grid and its "
            "stored path name the same schedule and the same number of steps."
        )
    states = torch.cat([batch.path, batch.x0[:, None]], 1)
    return states[torch.arange(len(t), device=t.device), place]
