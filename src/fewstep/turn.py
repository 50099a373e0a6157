"""What a term sees: one learner's turn on one batch, everything computed when first asked for and shared."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from fewstep.batch import Batch
from fewstep.couplings import Coupling, Independent
from fewstep.critic import Critic, has_heads
from fewstep.denoiser import Denoiser, Denoises
from fewstep.draws import Draws
from fewstep.errors import RecipeError, nearest
from fewstep.flowmap import FlowMap
from fewstep.process import Process
from fewstep.scalars import Progress
from fewstep.times import Law
from fewstep.types import Cond, Logits, T, X

__all__ = ["Fresh", "Noised", "On", "Rolled", "Rollout", "Stop", "Turn", "within"]

On = Literal["data", "samples"]
INDEPENDENT = Independent()


class Rollout(ABC):
    """How the student makes the samples that are judged."""

    @abstractmethod
    def __call__(self, student: FlowMap, like: X, c: Cond, draws: Draws) -> "Rolled":
        """Return samples of the shape of ``like``, with a graph where the paper has one."""

    def at(self, progress: Progress) -> "Rollout":
        """Return the rollout as it is at this point of the training; by default it is always the same."""
        return self


@dataclass(frozen=True)
class Stop:
    """The state x at the time s at which a path of samples is left, before it comes to the data."""

    x: X
    s: T


@dataclass(frozen=True)
class Rolled:
    """The student's samples x0 and the time t of the call that made them.

    With a ``stop`` that call went no further than there, and it is this state which is diffused, not x0.
    """

    x0: X
    t: T
    stop: Stop | None = None


@dataclass(frozen=True)
class Fresh:
    """Noise z that was drawn for a state which had some already, and its share of the deviation of all noise in x."""

    z: X
    share: T


@dataclass(frozen=True)
class Noised:
    """Clean items x0, a time t for each, the noise z in x, and ``x = alpha x0 + sigma z``.

    z was drawn, unless x was diffused from another state than x0: then ``fresh`` was.
    """

    x0: X
    t: T
    z: X
    x: X
    fresh: Fresh | None = None


@dataclass
class Turn:
    """One learner's turn on one batch (or one piece of it).

    ``views`` are all networks by name; ``me`` is the one that learns, the only one whose parameters carry a graph.
    Averages are named ``learner.average``, for example ``student.target``.  ``told`` is what it and its averages are
    told beyond time and condition, and ``rule`` the guidance that a teacher is under meanwhile.
    """

    me: str
    views: Mapping[str, Denoises]
    batch: Batch
    draws: Draws
    rollout: Rollout
    progress: Progress = field(default_factory=Progress)
    notes: dict[str, float] = field(default_factory=dict)
    told: Mapping[str, Tensor] = field(default_factory=dict)
    rule: Callable[[Denoises], Denoises] | None = None
    _noised: dict[tuple[On, Law, str, Coupling, bool], Noised] = field(default_factory=dict)
    _judged: dict[tuple[str, int, bool], list[Logits]] = field(default_factory=dict)

    @property
    def c(self) -> Cond:
        """The conditions of the batch."""
        return self.batch.c

    @property
    def process(self) -> Process:
        """The path of the network whose turn it is."""
        return self.views[self.me].process

    @cached_property
    def samples(self) -> Rolled:
        """The student's samples for this batch; they carry a graph in the student's turn only."""
        return self.rollout(self.flow_map("student"), self.batch.x0, self.c, self.draws)

    def clean(self, on: On) -> X:
        """Return the items that costs are computed on: the data, or the student's samples."""
        return self.batch.x0 if on == "data" else self.samples.x0

    def made_at(self, on: On) -> T | None:
        """Return the time of the call that made the clean items: the second time of a fake score; None for data."""
        return None if on == "data" else self.samples.t

    def noised(self, on: On, law: Law, stream: str, coupling: Coupling = INDEPENDENT, capped: bool = False) -> Noised:
        """Diffuse the clean items to times of ``law``: one draw for all who name the same ``stream``."""
        key = (on, law, stream, coupling, capped)
        if key not in self._noised:
            self._noised[key] = self.diffused(self.times(law, on, capped), coupling, on)
        return self._noised[key]

    def diffused(self, t: T, coupling: Coupling = INDEPENDENT, on: On = "data") -> Noised:
        """Diffuse the clean items to the times t, with noise that is coupled to them in that way.

        Samples are diffused from where their call stopped.
        """
        x0 = self.clean(on)
        z = coupling(self.batch, x0, self.draws, self.progress)
        if on == "data" or self.samples.stop is None:
            return Noised(x0, t, z, self.process.noise(x0, z, t))
        stop = self.samples.stop
        x = self.process.renoise(stop.x, z, stop.s, t)
        share = self.process.fresh(stop.s, t) / self.process.sigma(t)
        return Noised(x0, t, self.process.eps(x, x0, t), x, Fresh(z, share))

    def times(self, law: Law, on: On = "data", capped: bool = False) -> T:
        """Draw one time per item: for samples none before the stop of their call, ``capped`` none after its start.

        Laws that ask are told of the calls that made the samples.
        """
        u = self.draws.uniform(len(self.batch.x0))
        if on == "data" or (self.samples.stop is None and not capped):
            return law.after(self.process, u, lambda: self.samples.t)
        made, stop = self.samples.t, self.samples.stop
        low = torch.zeros_like(made) if stop is None else stop.s
        return within(law, self.process, u, low, made if capped else torch.full_like(made, self.process.t_max))

    def denoiser(self, name: str = "") -> Denoises:
        """Return the view of that name; without a name, of the network whose turn it is."""
        name = name or self.me
        if name not in self.views:
            raise RecipeError(f"a term asks for the network {name!r}; {nearest(name, self.views)}")
        mine = self.told and name.split(".")[0] == self.me
        return _bare(name, self.views[name]).told(self.told) if mine else self.views[name]

    def guided(self, name: str) -> Denoises:
        """Return the view of that name under the guidance that goes with what the learner is told."""
        return self.denoiser(name) if self.rule is None else self.rule(self.denoiser(name))

    def telling(self, told: Mapping[str, Tensor], rule: Callable[[Denoises], Denoises]) -> "Turn":
        """Return the same turn, with the same draws, in which the learner is told more and teachers are guided."""
        return replace(self, told={**self.told, **told}, rule=rule)

    def flow_map(self, name: str = "") -> FlowMap:
        """Return that network as a flow map."""
        return FlowMap(self.denoiser(name))

    def plain(self, name: str = "") -> Denoiser:
        """Return the view of that name as that of a bare network; raise ``RecipeError`` if it is guided."""
        return _bare(name or self.me, self.denoiser(name))

    def critic(self, name: str = "") -> Critic:
        """Return that network as a critic; of a pool of heads the same ones speak all through the turn.

        Raises ``RecipeError`` when it has no heads.
        """
        view = self.plain(name)
        if not has_heads(view):
            raise RecipeError(_headless(name or self.me, self.views))
        return Critic(view, self.draws.seed("heads"))

    def judged(self, name: str, noised: Noised) -> list[Logits]:
        """Return what the heads of a critic say of noisy items that the turn holds: asked once, for all terms."""
        key = (name, id(noised), torch.is_grad_enabled())
        if key not in self._judged:
            self._judged[key] = self.critic(name).heads(noised.x, noised.t, self.c)
        return self._judged[key]

    def note(self, name: str, value: Tensor | float) -> None:
        """Keep a number that only a human reads."""
        self.notes[name] = float(value)


def within(law: Law, process: Process, u: T, low: T, high: T) -> T:
    """Map uniform numbers to times of a law, given that they lie between ``low`` and ``high``, one each per item.

    Exact for laws that rise with u: the shares of times below the ends are found by bisection, to 2^-50.
    """
    ends = torch.cat([low, high])
    under, over = torch.zeros_like(ends), torch.ones_like(ends)
    for _ in range(50):
        middle = (under + over) / 2
        before = law.times(process, middle) <= ends
        under, over = torch.where(before, middle, under), torch.where(before, over, middle)
    first, last = under[: len(u)], over[len(u) :]
    return law.times(process, first + u * (last - first)).maximum(low).minimum(high)


def _bare(name: str, view: Denoises) -> Denoiser:
    if not isinstance(view, Denoiser):
        raise RecipeError(
            f"{name!r} is a guided network, where a bare one is needed: as a critic, for its features, or to be told "
            "of guidance. List it under 'frozen' once more without guidance, and name that."
        )
    return view


def _headless(name: str, views: Mapping[str, Denoises]) -> str:
    """Say what to do about a network that was asked to judge and has no heads."""
    bare = {each: view for each, view in views.items() if isinstance(view, Denoiser) and "." not in each}
    able = [each for each, view in bare.items() if has_heads(view)]
    known = f"those of {', '.join(map(repr, able))} have some; name one of these" if able else "nor has any other"
    return (
        f"the network {name!r} is asked to judge, as a critic or for a density ratio, but it has no heads: {known}. Or "
        "give a learner of that name `heads: middle` and the term `discriminate`, which trains them."
    )
