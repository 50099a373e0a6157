"""How guidance rules stack on a denoiser."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from fewstep.denoiser import Denoises, Once
from fewstep.process import Process
from fewstep.types import Cond, T, X

__all__ = ["Guidance", "Guided"]


class Guidance(ABC):
    """A rule that changes a denoiser's answer; called with a denoiser it returns the guided one."""

    @property
    def passes(self) -> int:
        """How often the network is asked where the bare one is asked once."""
        return 1

    def against(self, negative: Cond) -> "Guidance":
        """Return the rule with a negative condition in the place of the empty one; itself where it needs none."""
        return self

    def within(self, denoiser: Denoises) -> Denoises:
        """Return the denoiser with what the rule changes inside of its network; itself for rules on its answers."""
        return denoiser

    def on(self, times: Tensor) -> "Guidance":
        """Return the rule for a walk down these times, (steps + 1,); itself where it does not go by steps."""
        return self

    def reaches(self, process: Process, times: Tensor) -> bool:
        """Say whether at any of these times, (steps,), the guided denoiser below plays a part in the answer."""
        return True

    @abstractmethod
    def apply(self, guided: Denoises, plain: Denoises, x: X, t: T, c: Cond) -> X:
        """Return the answer under this rule, given the denoiser ``guided`` so far and the ``plain`` one."""

    def __call__(self, denoiser: Denoises) -> "Guided":
        """Return ``denoiser`` under this rule, on top of the rules it may have already."""
        if isinstance(denoiser, Guided):
            return Guided(denoiser.plain, (*denoiser.rules, self))
        return Guided(denoiser, (self,))


@dataclass(frozen=True)
class Guided:
    """A denoiser under rules, the first one innermost; the same question reaches the network once."""

    plain: Denoises
    rules: tuple[Guidance, ...]

    @property
    def process(self) -> Process:
        """The path on which x lives."""
        return self.plain.process

    def __call__(self, x: X, t: T, c: Cond = None, s: T | None = None) -> X:
        """Return the guided estimate; every rule asks for the same second time, so that it mixes the jumps to s."""
        plain, inside = Once(_Until(self.plain, s)), self.plain
        for rule in self.rules:
            inside = rule.within(inside)
        guided: Denoises = plain if inside is self.plain else Once(_Until(inside, s))
        for rule in self.rules:
            guided = _Layer(rule, guided, plain)
        return guided(x, t, c)


@dataclass(frozen=True)
class _Until:
    """A denoiser that is asked about one second time, which the rules need not know."""

    inner: Denoises
    until: T | None

    @property
    def process(self) -> Process:
        return self.inner.process

    def __call__(self, x: X, t: T, c: Cond = None, s: T | None = None) -> X:
        return self.inner(x, t, c, self.until if s is None else s)


@dataclass(frozen=True)
class _Layer:
    """One rule over what lies below it."""

    rule: Guidance
    below: Denoises
    plain: Denoises

    @property
    def process(self) -> Process:
        return self.plain.process

    def __call__(self, x: X, t: T, c: Cond = None, s: T | None = None) -> X:
        return self.rule.apply(self.below, self.plain, x, t, c)
