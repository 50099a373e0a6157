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
        return self._posterior(x, self.process.alpha(t), self.process.sigma(t))[0]

    def score(self, x: X, t: T) -> X:
        """Return the gradient of the log density."""
        return self._posterior(x, self.process.alpha(t), self.process.sigma(t))[1]

    def log_density(self, x: X, t: T) -> Cost:
        """Return the log of the density of x at time t."""
        logits, _ = self._responsibility(x, self.process.alpha(t), self.process.sigma(t))
        return logits.logsumexp(1)

    def flow(self, x: X, t: T, s: T) -> X:
        """Return where the probability-flow ODE from (x, t) stands at time s."""
        (angle, size), (end, size_s) = self._polar(t), self._polar(s)
        x, h = x / over(size, x), (end - angle) / self.substeps
        for i in range(self.substeps):
            x = self._advance(x, torch.lerp(angle, end, i / self.substeps), h)
        return x * over(size_s, x)

    def sample(self, count: int, generator: Generator) -> X:
        """Return ``count`` items, float64."""
        k = torch.multinomial(self.weights.double(), count, replacement=True, generator=generator)
        z = torch.randn((count, *self.means.shape[1:]), generator=generator, dtype=torch.float64)
        return self.means[k].double() + over(self.stds[k].double(), z) * z

    def _polar(self, t: T) -> tuple[T, T]:
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        return torch.atan2(sigma, alpha), torch.hypot(alpha, sigma)

    def _advance(self, x: X, angle: T, h: T) -> X:
        """Take one step of the classical Runge-Kutta method, with ``alpha = cos`` and ``sigma = sin`` of the angle."""
        step = over(h, x)
        a = self._turn(x, angle)
        b = self._turn(x + step / 2 * a, angle + h / 2)
        c = self._turn(x + step / 2 * b, angle + h / 2)
        d = self._turn(x + step * c, angle + h)
        return x + step / 6 * (a + 2 * b + 2 * c + d)

    def _turn(self, x: X, angle: T) -> X:
        """Return ``dx/d angle = -sin x0 + cos eps`` with ``eps = -sin score``, regular at both ends."""
        x0, score = self._posterior(x, angle.cos(), angle.sin())
        return -over(angle.sin(), x) * (x0 + over(angle.cos(), x) * score)

    def _posterior(self, x: X, alpha: T, sigma: T) -> tuple[X, X]:
        """Return the posterior mean and the score."""
        logits, away = self._responsibility(x, alpha, sigma)
        variance = self._variance(x, alpha, sigma)
        share = _trailing(logits.softmax(1), away)
        pull = _trailing(alpha[:, None].to(x) * self.stds.to(x) ** 2 / variance, away)
        x0 = (share * (self.means.to(x) + pull * away)).sum(1)
        return x0, -(share * away / _trailing(variance, away)).sum(1)

    def _responsibility(self, x: X, alpha: T, sigma: T) -> tuple[Tensor, Tensor]:
        """Return the log of each component's joint density (b, k), and ``x - alpha means`` (b, k, ...)."""
        away = x[:, None] - over(alpha, x)[:, None] * self.means.to(x)
        variance, square = self._variance(x, alpha, sigma), away.flatten(2).square().sum(2)
        size = (2 * math.pi * variance).log() * (away[0, 0].numel() / 2)
        return self.weights.to(x).log() - size - square / variance / 2, away

    def _variance(self, x: X, alpha: T, sigma: T) -> Tensor:
        return (alpha[:, None] * self.stds.to(alpha)).square().add(sigma[:, None] ** 2).to(x)


def _trailing(factor: Tensor, like: Tensor) -> Tensor:
    """Give ``factor`` (b, k) the trailing axes of ``like`` (b, k, ...)."""
    return factor.reshape(*factor.shape, *(1 for _ in like.shape[2:]))


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
        jump = (self.world.flow(x, t, s) - over(keep, x) * x) / over(gain, x)
        return torch.where(over(gain, x) > 1e-12, jump, here)
