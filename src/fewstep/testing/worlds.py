"""Data whose denoiser, score and flow map are known, in the precision of x.

A world is a denoiser: pass it wherever a network's view goes.  Use float64 and compare to nine digits.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from fewstep.denoiser import Denoises
from fewstep.process import Process, over
from fewstep.types import Cond, Cost, T, X

__all__ = ["Classes", "Gaussian", "Jump", "Mixture", "World"]


class World(Denoises, Protocol):
    """A denoiser whose density and flow map are known too."""

    def log_density(self, x: X, t: T) -> Cost:
        """Return the log of the density of x at time t."""

    def flow(self, x: X, t: T, s: T) -> X:
        """Return where the probability-flow ODE from (x, t) stands at time s."""


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Data ``N(mean, std^2 I)``; ``mean`` has the shape of an item, or of a batch when every item has its own.

    ``v_t^2 = alpha^2 std^2 + sigma^2``, ``D = mean + alpha std^2 / v_t^2 (x - alpha mean)``.
    """

    process: Process
    mean: Tensor
    std: float = 1.0

    def spread(self, t: T) -> T:
        """Return ``v_t``, the standard deviation of x at time t."""
        return ((self.process.alpha(t) * self.std) ** 2 + self.process.sigma(t) ** 2).sqrt()

    def __call__(self, x: X, t: T, c: Cond = None, s: T | None = None) -> X:
        """Return the posterior mean ``E[x0 | x_t = x]``."""
        share = self.process.alpha(t) * self.std**2 / self.spread(t) ** 2
        return self.mean.to(x) + over(share, x) * self._away(x, t)

    def score(self, x: X, t: T) -> X:
        """Return the gradient of the log density."""
        return -self._away(x, t) / over(self.spread(t), x) ** 2

    def log_density(self, x: X, t: T) -> Cost:
        """Return the log of the density of x at time t."""
        unit = (self._away(x, t) / over(self.spread(t), x)).flatten(1)
        size = self.spread(t).log().to(x.dtype) + math.log(2 * math.pi) / 2
        return -unit.square().sum(1) / 2 - size * unit.shape[1]

    def flow(self, x: X, t: T, s: T) -> X:
        """Return ``alpha_s mean + v_s / v_t (x - alpha_t mean)``."""
        scale = self.spread(s) / self.spread(t)
        return over(self.process.alpha(s), x) * self.mean.to(x) + over(scale, x) * self._away(x, t)

    def sample(self, count: int, generator: Generator) -> X:
        """Return ``count`` items, float64."""
        z = torch.randn((count, *self.mean.shape), generator=generator, dtype=torch.float64)
        return self.mean.double() + self.std * z

    def _away(self, x: X, t: T) -> X:
        return x - over(self.process.alpha(t), x) * self.mean.to(x)


@dataclass(frozen=True, eq=False)
class Classes:
    """One Gaussian per class, all of the same ``std``; the last row of ``means`` is the law of no class.

    CFG at scale w is exact here: the denoiser of ``N(m_null + w (m_c - m_null), std^2 I)``.
    """

    process: Process
    means: Tensor
    std: float = 1.0

    def law(self, c: Cond) -> Gaussian:
        """Return the law of each label (b,), -1 and None for no class."""
        return Gaussian(self.process, self.means[-1] if c is None else self.means[c], self.std)

    def __call__(self, x: X, t: T, c: Cond = None, s: T | None = None) -> X:
        """Return the posterior mean of each item's class."""
        return self.law(c)(x, t)


@dataclass(frozen=True, eq=False)
class Mixture:
    """Data ``sum_k weights_k N(means_k, stds_k^2 I)``: weights (k,), means (k, ...), stds (k,).

    Its flow map has no closed form: ``substeps`` Runge-Kutta steps of fourth order, even in the angle
    ``arctan(sigma / alpha)``, which is smooth on every process and from end to end; 128 give about seven digits.
    """

    process: Process
    weights: Tensor
    means: Tensor
    stds: Tensor
    substeps: int = 128

    def __call__(self, x: X, t: T, c: Cond = None, s: T | None = None) -> X:
        """Return the posterior mean ``E[x0 | x_t = x]``."""
        return self._at(x, t)[0].reshape(x.shape)

    def score(self, x: X, t: T) -> X:
        """Return the gradient of the log density."""
        return self._at(x, t)[1].reshape(x.shape)

    def log_density(self, x: X, t: T) -> Cost:
        """Return the log of the density of x at time t."""
        return self._at(x, t)[2]

    def flow(self, x: X, t: T, s: T) -> X:
        """Return where the probability-flow ODE from (x, t) stands at time s."""
        (angle, size), (end, size_s) = self._polar(t), self._polar(s)
        y, h = x.flatten(1) / size[:, None].to(x), (end - angle) / self.substeps
        for i in range(self.substeps):
            y = self._advance(y, torch.lerp(angle, end, i / self.substeps)[:, None].to(x), h[:, None].to(x))
        return (y * size_s[:, None].to(x)).reshape(x.shape)

    def sample(self, count: int, generator: Generator) -> X:
        """Return ``count`` items, float64."""
        k = torch.multinomial(self.weights.double(), count, replacement=True, generator=generator)
        z = torch.randn((count, *self.means.shape[1:]), generator=generator, dtype=torch.float64)
        return self.means[k].double() + over(self.stds[k].double(), z) * z

    def _polar(self, t: T) -> tuple[T, T]:
        alpha, sigma = self.process.scales(t)
        return torch.atan2(sigma, alpha), torch.hypot(alpha, sigma)

    def _advance(self, y: Tensor, angle: Tensor, h: Tensor) -> Tensor:
        """Take one step of the classical Runge-Kutta method, with ``alpha = cos`` and ``sigma = sin`` of the angle."""
        a = self._turn(y, angle)
        b = self._turn(y + h / 2 * a, angle + h / 2)
        c = self._turn(y + h / 2 * b, angle + h / 2)
        d = self._turn(y + h * c, angle + h)
        return y + h / 6 * (a + 2 * b + 2 * c + d)

    def _turn(self, y: Tensor, angle: Tensor) -> Tensor:
        """Return ``dx/d angle = -sin x0 + cos eps`` with ``eps = -sin score``, regular at both ends."""
        alpha, sigma = angle.cos(), angle.sin()
        x0, score, _ = self._posterior(y, alpha, sigma)
        return -sigma * (x0 + alpha * score)

    def _at(self, x: X, t: T) -> tuple[Tensor, Tensor, Tensor]:
        alpha, sigma = self.process.alpha(t).to(x), self.process.sigma(t).to(x)
        return self._posterior(x.flatten(1), alpha[:, None], sigma[:, None])

    def _posterior(self, y: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return posterior mean (b, d), score (b, d) and log density (b,) of y (b, d); alpha and sigma are (b, 1)."""
        means, stds = self.means.flatten(1).to(y), self.stds.to(y)
        variance = (alpha * stds).square() + sigma.square()
        away = y[:, None] - alpha[..., None] * means
        size = (2 * math.pi * variance).log() * y.shape[1] + away.square().sum(2) / variance
        logits = self.weights.to(y).log() - size / 2
        share, pull = logits.softmax(1)[..., None], away / variance[..., None]
        x0 = (share * (means + (alpha * stds.square())[..., None] * pull)).sum(1)
        return x0, -(share * pull).sum(1), logits.logsumexp(1)


@dataclass(frozen=True, eq=False)
class Jump:
    """A world as a student with a second time: ``FlowMap(Jump(world))`` is the exact flow map.

    Asked with s, it returns the x0 along which the DDIM step from t to s ends on the flow; asked without, or with
    s = t, the posterior mean.
    """

    world: World

    @property
    def process(self) -> Process:
        """The path on which x lives."""
        return self.world.process

    def __call__(self, x: X, t: T, c: Cond = None, s: T | None = None) -> X:
        """Return the estimate that makes the step to s exact."""
        here = self.world(x, t, c)
        if s is None:
            return here
        path, sigma_t = self.process, self.process.sigma(t)
        keep = torch.where(sigma_t > 0, path.sigma(s) / sigma_t, 1.0)
        gain = path.alpha(s) - path.alpha(t) * keep
        jump = (self.world.flow(x, t, s) - over(keep, x) * x) / over(gain.clamp_min(1e-12), x)
        return torch.where(over(gain, x) > 1e-12, jump, here)
