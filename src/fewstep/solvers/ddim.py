"""DDIM, with and without noise."""

from dataclasses import dataclass

from torch import Tensor

from fewstep.denoiser import Denoises
from fewstep.draws import Draws
from fewstep.errors import RecipeError
from fewstep.process import over
from fewstep.solvers.base import Solver, per_item
from fewstep.types import Cond, X

__all__ = ["DDIM", "Stochastic"]


@dataclass(frozen=True)
class DDIM(Solver):
    """``x_s = alpha_s D + sigma_s eps``: keep the noise, exchange the level.

    Source: Song et al. 2020, arXiv 2010.02502, eq. 12 with eta = 0.
    """

    order = 1
    stepwise = True
    SOURCE = "arXiv 2010.02502"

    def __call__(self, denoiser: Denoises, x: X, times: Tensor, c: Cond = None, draws: Draws | None = None) -> X:
        """Return x at the last of ``times``."""
        for t, s in per_item(times, x):
            x = denoiser.process.step(x, denoiser(x, t, c), t, s)
        return x

    def calls(self, steps: int) -> int:
        """Return one call per step."""
        return steps


@dataclass(frozen=True)
class Stochastic(Solver):
    """``x_s = alpha_s D + sqrt(sigma_s^2 - tau^2) eps + tau z`` with
    ``tau = eta (sigma_s / sigma_t) sqrt(sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2)``.

    eta = 0 is DDIM to the last bit, eta = 1 the ancestral sampler of DDPM.
    Source: arXiv 2010.02502, eq. 12 and 16, written for any alpha and sigma.
    """

    eta: float = 1.0

    order = 0
    SOURCE = "arXiv 2010.02502"

    def __call__(self, denoiser: Denoises, x: X, times: Tensor, c: Cond = None, draws: Draws | None = None) -> X:
        """Return x at the last of ``times``; raise ``RecipeError`` when eta > 0 and no ``draws`` are given."""
        process = denoiser.process
        for t, s in per_item(times, x):
            x0 = denoiser(x, t, c)
            if self.eta == 0:
                x = process.step(x, x0, t, s)
                continue
            if draws is None:
                raise RecipeError("the stochastic solver with eta > 0 needs 'draws', the source of its noise.")
            alpha_s, sigma_t, sigma_s = process.alpha(s), process.sigma(t), process.sigma(s)
            added = (sigma_t**2 - (process.alpha(t) / alpha_s * sigma_s) ** 2).clamp_min(0).sqrt()
            tau = self.eta * sigma_s / sigma_t * added
            kept = (sigma_s**2 - tau**2).clamp_min(0).sqrt()
            x = over(alpha_s, x) * x0 + over(kept, x) * process.eps(x, x0, t) + over(tau, x) * draws.normal(x)
        return x

    def calls(self, steps: int) -> int:
        """Return one call per step."""
        return steps
