"""How a consistency cost gets from x_t to its cleaner neighbour x_r."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch

from fewstep.solvers import Heun, Solver
from fewstep.turn import Noised, Turn
from fewstep.types import T, X

__all__ = ["Bridge", "DataBridge", "TeacherBridge"]


class Bridge(ABC):
    """A way from t to r < t."""

    @abstractmethod
    def __call__(self, turn: Turn, noised: Noised, r: T) -> X:
        """Return x at time r, (b, ...)."""

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
        return turn.process.noise(noised.x0, noised.z, r)


@dataclass(frozen=True)
class TeacherBridge(Bridge):
    """``substeps`` steps of a solver along a frozen teacher, evenly spaced on the clock between t and r.

    With the ``Stochastic`` solver it is SCott's bridge (arXiv 2403.01505), with Heun that of consistency
    distillation.  Source: arXiv 2303.01469, eq. 6.
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
        place = torch.linspace(0, 1, self.substeps + 1, dtype=r.dtype, device=r.device)[:, None]
        times = torch.lerp(noised.t, r, place)
        return self.solver(turn.denoiser(self.teacher), noised.x, times, turn.c, turn.draws)
