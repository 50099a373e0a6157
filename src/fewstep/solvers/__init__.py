"""From noise to data in many steps: each solver is the published algorithm, top to bottom.

``solver(denoiser, x, times, c)`` carries ``x`` from ``times[0]`` to ``times[-1]``; ``times`` is (n + 1,) falling, or
(n + 1, b) when every item has its own.
"""

from fewstep.solvers.base import Solver, per_item
from fewstep.solvers.ddim import DDIM, Stochastic
from fewstep.solvers.dpm import DPMSolver
from fewstep.solvers.euler import Euler
from fewstep.solvers.heun import Heun

__all__ = ["DDIM", "DPMSolver", "Euler", "Heun", "Solver", "Stochastic", "per_item"]
