"""How a student makes the samples that its objective judges."""

from dataclasses import dataclass, replace

import torch

from fewstep.draws import Draws
from fewstep.flowmap import FlowMap
from fewstep.sampling import few_step
from fewstep.scalars import Progress, Scalar, scalar
from fewstep.times import Law, Schedule
from fewstep.turn import Rolled, Rollout, Stop
from fewstep.types import Cond, X

__all__ = ["BackwardSimulation", "FromData", "OneStep", "Trajectory", "Unrolled"]


def _everywhere(time: float | torch.Tensor, like: X) -> torch.Tensor:
    return torch.as_tensor(time, dtype=torch.float64, device=like.device).expand(len(like))


@dataclass(frozen=True)
class OneStep(Rollout):
    """One call from pure noise at time ``start``: ``G(z_T, start, 0, c)``, with z_T what a sampler starts from."""

    start: float

    def __call__(self, student: FlowMap, like: X, c: Cond, draws: Draws) -> Rolled:
        """Return one sample per item of ``like``."""
        t = _everywhere(self.start, like)
        x = student.process.prior(draws.normal(like), t)
        return Rolled(student(x, t, torch.zeros_like(t), c), t)


@dataclass(frozen=True)
class BackwardSimulation(Rollout):
    """Train each call of an n-step student on the inputs that it will meet when sampling.

    Draw k in {0, ..., n - 1}, the same for the whole batch; let the student sample k steps without a graph, diffuse
    its estimate to the k-th time, and call it there with a graph.  ``first`` is the share of batches with k = 0
    without a draw; it may change while training, by the share of all batches that are done.
    Source: DMD2, arXiv 2405.14867, section 4.5.
    """

    schedule: Schedule
    steps: int = 4
    first: Scalar = 0.0

    def at(self, progress: Progress) -> "BackwardSimulation":
        """Return the rollout with the share of first calls that holds now."""
        return replace(self, first=scalar(self.first, progress))

    def __call__(self, student: FlowMap, like: X, c: Cond, draws: Draws) -> Rolled:
        """Return one sample per item of ``like``, made by the k-th call; untold of progress, as at the beginning."""
        times = self.schedule.points(self.steps).to(like.device)
        first = scalar(self.first, Progress())
        k = 0 if draws.integer(10**6) < first * 10**6 else draws.integer(self.steps)
        t, end = _everywhere(times[0], like), torch.zeros(len(like), dtype=torch.float64, device=like.device)
        x = student.process.prior(draws.normal(like), t)
        for i in range(k):
            with torch.no_grad():
                x0 = student(x, t, end, c)
            t = _everywhere(times[i + 1], like)
            x = student.process.noise(x0, draws.normal(like), t)
        return Rolled(student(x, t, end, c), t)


@dataclass(frozen=True)
class FromData(Rollout):
    """Noise the data to a time of ``times``, then one jump to 0: what the consistency papers show their critics.

    Source: CTM, arXiv 2310.02279, section 4.2 (there at the times of the consistency cost).
    """

    times: Law

    def __call__(self, student: FlowMap, like: X, c: Cond, draws: Draws) -> Rolled:
        """Return one estimate per item of ``like``, which are the data."""
        t = self.times.times(student.process, draws.uniform(len(like)))
        x = student.process.noise(like, draws.normal(like), t)
        return Rolled(student(x, t, torch.zeros_like(t), c), t)


@dataclass(frozen=True)
class Trajectory(Rollout):
    """One of the ``steps`` calls of the deterministic sampler, and the state in which its step stops.

    Draw k in {0, ..., n - 1}, the same for the whole batch; take k steps without a graph and call the student there
    with a graph.  The last step goes to the data and has no stop.
    Source: TDM, arXiv 2503.06674 (its code).  *Ours*: one k for the whole batch.
    """

    schedule: Schedule
    steps: int = 4

    def __call__(self, student: FlowMap, like: X, c: Cond, draws: Draws) -> Rolled:
        """Return one estimate per item of ``like``, made by the call of step k, and where that step stops."""
        times, k = self.schedule.steps(self.steps).to(like.device), draws.integer(self.steps)
        start, t, s = (_everywhere(times[i], like) for i in (0, k, k + 1))
        x = student.process.prior(draws.normal(like), start)
        with torch.no_grad():
            x = few_step(student, x, times[: k + 1], c, gamma=0.0)
        x0 = student.denoiser(x, t, c, s)
        last = k == self.steps - 1
        return Rolled(x0, t, None if last else Stop(student.process.step(x, x0, t, s), s))


@dataclass(frozen=True)
class Unrolled(Rollout):
    """All ``steps`` jumps of the deterministic sampler, every one of them inside the graph.

    Source: PeriodWave-Turbo, arXiv 2408.08019, section 3.1 (a fixed-step generator, fine-tuned as a whole).
    """

    schedule: Schedule
    steps: int = 4

    def __call__(self, student: FlowMap, like: X, c: Cond, draws: Draws) -> Rolled:
        """Return one sample per item of ``like``; its time is that of the last call."""
        times = self.schedule.steps(self.steps).to(like.device)
        start = _everywhere(times[0], like)
        x = student.process.prior(draws.normal(like), start)
        return Rolled(few_step(student, x, times, c, gamma=0.0), _everywhere(times[-2], like))
