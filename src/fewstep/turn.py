"""What a term sees: one learner's turn on one batch, everything computed when first asked for and shared."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from torch import Tensor

from fewstep.batch import Batch
from fewstep.couplings import Coupling, Independent
from fewstep.critic import Critic
from fewstep.denoiser import Denoiser, Denoises
from fewstep.draws import Draws
from fewstep.errors import RecipeError, nearest
from fewstep.flowmap import FlowMap
from fewstep.process import Process
from fewstep.scalars import Progress
from fewstep.times import Law
from fewstep.types import Cond, T, X

__all__ = ["Noised", "On", "Rolled", "Rollout", "Turn"]

On = Literal["data", "samples"]
INDEPENDENT = Independent()


class Rollout(ABC):
    """How the student makes the samples that are judged."""

    @abstractmethod
    def __call__(self, student: FlowMap, like: X, c: Cond, draws: Draws) -> "Rolled":
        """Return samples of the shape of ``like``, with a graph where the paper has one."""


@dataclass(frozen=True)
class Rolled:
    """The student's samples x0 and the time t of the call that made them."""

    x0: X
    t: T


@dataclass(frozen=True)
class Noised:
    """Clean items x0, the time t and the noise z drawn for them, and ``x = alpha x0 + sigma z``."""

    x0: X
    t: T
    z: X
    x: X


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
    _noised: dict[tuple[On, Law, str, Coupling], Noised] = field(default_factory=dict)

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

    def noised(self, on: On, law: Law, stream: str, coupling: Coupling = INDEPENDENT) -> Noised:
        """Diffuse the clean items to times of ``law``: one draw for all who name the same ``stream``."""
        key = (on, law, stream, coupling)
        if key not in self._noised:
            self._noised[key] = self.diffused(self.times(law), coupling, on)
        return self._noised[key]

    def diffused(self, t: T, coupling: Coupling = INDEPENDENT, on: On = "data") -> Noised:
        """Diffuse the clean items to the times t, with noise that is coupled to them in that way."""
        x0 = self.clean(on)
        z = coupling(self.batch, x0, self.draws, self.progress)
        return Noised(x0, t, z, self.process.noise(x0, z, t))

    def times(self, law: Law) -> T:
        """Draw one time per item."""
        return law.times(self.process, self.draws.uniform(len(self.batch.x0)))

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
        """Return that network as a critic."""
        return Critic(self.plain(name))

    def note(self, name: str, value: Tensor | float) -> None:
        """Keep a number that only a human reads."""
        self.notes[name] = float(value)


def _bare(name: str, view: Denoises) -> Denoiser:
    if not isinstance(view, Denoiser):
        raise RecipeError(
            f"{name!r} is a guided network, where a bare one is needed: as a critic, for its features, or to be told "
            "of guidance. List it under 'frozen' once more without guidance, and name that."
        )
    return view
