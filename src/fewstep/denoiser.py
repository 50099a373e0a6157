"""The one question that every network is asked: which data does this noisy x come from?"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from fewstep import predict
from fewstep.errors import RecipeError
from fewstep.process import Process, over
from fewstep.types import Cond, T, X

__all__ = ["Denoiser", "Denoises", "Moved", "Once"]


@runtime_checkable
class Denoises(Protocol):
    """Anything that maps (x, t, c) to an estimate of the data: a network's view, a guided one, an exact one."""

    @property
    def process(self) -> Process:
        """The path on which x lives."""

    def __call__(self, x: X, t: T, c: Cond = None, s: T | None = None) -> X:
        """Return the estimate; ``s`` is the second time, for networks that take one."""


@dataclass(frozen=True)
class Denoiser:
    """A frozen view of a network: ``D(x, t, c) = E[x0 | x_t = x, c]``.

    ``net`` is any module called as ``net(x, label, c)``, or ``net(x, label, c, label_s)`` with ``second_time``;
    the label is ``process.label(t)`` in the precision of x.  The output has the shape of x.
    ``inputs`` are what else the network is told, by the names of its arguments: a guidance scale or a negative
    condition, one row per item of the batch; a rule for its attention.  ``time_share`` is the share of every time that
    it is told; its answer is that of a cleaner x, and only the path goes by t itself.  1 changes no bit.
    Raises ``RecipeError`` for a share that is not above 0 and at most 1.
    Source: the shift of time steps in NitroFusion, arXiv 2412.02030 (its sampler's code: 250 or 500 of 1000).
    *Ours*: on any path, where x is given the size that it has at the time told (on VP it has that); not rounded.
    """

    net: nn.Module
    process: Process
    prediction: predict.Prediction = field(default_factory=predict.EDM)
    second_time: bool = False
    inputs: Mapping[str, object] = field(default_factory=dict)
    time_share: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.time_share <= 1:
            raise RecipeError(
                f"a network is told a share of {self.time_share} of every time; accepted are shares above 0, up to 1 "
                "for the time itself. Mend 'time_share', or leave it out."
            )

    def told(self, inputs: Mapping[str, object]) -> "Denoiser":
        """Return the same view with further inputs."""
        return replace(self, inputs={**self.inputs, **inputs})

    def takes(self, name: str) -> bool:
        """Say whether the network has an argument of that name."""
        return name in signature(self.net.forward).parameters

    def asked(self, x: X, t: T) -> tuple[X, T]:
        """Return what the network is asked about in the place of x at t: the time it is told, and x of that size."""
        if self.time_share == 1:
            return x, t
        told = t * self.time_share
        return over((self.process.variance(told) / self.process.variance(t)).sqrt(), x) * x, told

    def __call__(self, x: X, t: T, c: Cond = None, s: T | None = None) -> X:
        """Return the estimate of the data, (b, ...)."""
        x, t = self.asked(x, t)
        label = self.process.label(t).to(x.dtype)
        fed = self.prediction.input(self.process, x, t)
        if self.second_time:
            until = label if s is None else self.process.label(s * self.time_share).to(x.dtype)
            output = self.net(fed, label, c, until, **self.inputs)
        else:
            output = self.net(fed, label, c, **self.inputs)
        return self.prediction.x0(self.process, output.to(x.dtype), x, t)


@dataclass(frozen=True)
class Moved:
    """A denoiser on another path: asked at the same signal-to-noise ratio about the same item, rescaled.

    Exact up to rounding; beyond the noisiest time of its own path it is asked at that time.
    """

    inner: Denoises
    process: Process

    def __call__(self, x: X, t: T, c: Cond = None, s: T | None = None) -> X:
        """Return the inner denoiser's estimate."""
        home = self.inner.process
        there = home.time(self.process.logsnr(t)).clamp_max(home.t_max)
        until = None if s is None else home.time(self.process.logsnr(s)).clamp_max(home.t_max)
        clean = self.process.alpha(t) > self.process.sigma(t)
        by_alpha, by_sigma = home.alpha(there) / self.process.alpha(t), home.sigma(there) / self.process.sigma(t)
        return self.inner(over(torch.where(clean, by_alpha, by_sigma), x) * x, there, c, until)


class Once:
    """A denoiser that remembers its answers, for rules that ask it twice about the same (x, t, c).

    Lives within one call; questions are recognised by the identity of their tensors.
    """

    def __init__(self, inner: Denoises) -> None:
        self.inner = inner
        self._known: list[tuple[tuple[X, T, Cond, T | None], X]] = []

    @property
    def process(self) -> Process:
        """The path of the denoiser inside."""
        return self.inner.process

    def __call__(self, x: X, t: T, c: Cond = None, s: T | None = None) -> X:
        """Return the remembered answer if these are the same tensors, else ask."""
        asked = (x, t, c, s)
        for question, answer in self._known:
            if all(a is b for a, b in zip(asked, question, strict=True)):
                return answer
        self._known.append((asked, self.inner(x, t, c, s)))
        return self._known[-1][1]
