"""With which velocity x_t moves along its trajectory: that of one item, or that of a teacher."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from fewstep.condition import null
from fewstep.process import over
from fewstep.turn import Noised, Turn
from fewstep.types import X

__all__ = ["DataSlope", "MixedSlope", "Slope", "TeacherSlope"]


class Slope(ABC):
    """A velocity dx/dt at x_t on the process' clock."""

    @abstractmethod
    def __call__(self, turn: Turn, noised: Noised) -> X:
        """Return the velocity, (b, ...); called without a graph."""

    def networks(self) -> tuple[str, ...]:
        """Return the names of the networks that are asked for."""
        return ()


@dataclass(frozen=True)
class DataSlope(Slope):
    """``alpha' x0 + sigma' z``: its mean given x_t is the velocity of the ODE.  Source: arXiv 2209.03003, eq. 1."""

    def __call__(self, turn: Turn, noised: Noised) -> X:
        """Return the velocity of each item's own path."""
        dalpha, dsigma = turn.process.rates(noised.t)
        return over(dalpha, noised.x0) * noised.x0 + over(dsigma, noised.z) * noised.z


@dataclass(frozen=True)
class TeacherSlope(Slope):
    """The velocity of the (guided) teacher's ODE.  Source: sCM, arXiv 2410.11081, section 3 (sCD)."""

    teacher: str = "teacher"

    def networks(self) -> tuple[str, ...]:
        """Return the teacher."""
        return (self.teacher,)

    def __call__(self, turn: Turn, noised: Noised) -> X:
        """Return the teacher's velocity."""
        return turn.process.velocity(noised.x, turn.denoiser(self.teacher)(noised.x, noised.t, turn.c), noised.t)


@dataclass(frozen=True)
class MixedSlope(Slope):
    """``omega v + (1 - omega - kappa) u_null + kappa u_c``: guidance learned without a teacher.

    v is the item's own velocity, u the learner's at s = t; the effective scale is ``omega / (1 - kappa)``.
    Source: MeanFlow, arXiv 2505.13447, appendix B.1.
    """

    omega: float = 1.0
    kappa: float = 0.0

    def __call__(self, turn: Turn, noised: Noised) -> X:
        """Return the mixed velocity."""
        learner, process, x, t = turn.denoiser(), turn.process, noised.x, noised.t
        own = process.velocity(x, learner(x, t, turn.c), t)
        empty = process.velocity(x, learner(x, t, null(turn.c)), t)
        return self.omega * DataSlope()(turn, noised) + (1 - self.omega - self.kappa) * empty + self.kappa * own
