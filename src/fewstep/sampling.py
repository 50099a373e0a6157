"""Few-step sampling: jump with the flow map, put part of the noise back, jump again; and what a model's sampler is."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from fewstep.denoiser import Denoiser, Denoises
from fewstep.draws import item_noise
from fewstep.errors import RecipeError
from fewstep.flowmap import FlowMap
from fewstep.guidance import Guidance
from fewstep.process import Process
from fewstep.solvers import Heun, Solver
from fewstep.times import Schedule
from fewstep.types import Cond, T, X

__all__ = ["FewStep", "ManyStep", "Sampler", "few_step", "strategic"]

SOURCE = "arXiv 2310.02279, algorithm 3 (gamma-sampling); gamma = 1 is arXiv 2303.01469, algorithm 1"


def few_step(
    student: FlowMap, x: X, times: Tensor, c: Cond = None, *, gamma: float = 1.0, z: Tensor | None = None
) -> X:
    """Walk down ``times`` (n + 1 falling, the last one the end) with one call of the student per step.

    Each step jumps to ``u`` with ``sigma_u/alpha_u = sqrt(1 - gamma^2) sigma_s/alpha_s`` and is then diffused up to
    the next time s.  gamma = 1: to the data and all the noise anew; gamma = 0: deterministic.  ``x`` (b, ...)
    stands at ``times[0]``; ``z`` (n - 1, b, ...) is the fresh noise, needed when gamma > 0 and n > 1.
    Exact when the student is the flow map: every marginal is kept, for every gamma.
    """
    if not 0 <= gamma <= 1:
        raise RecipeError(f"gamma is {gamma}; accepted is 0 (deterministic) to 1 (all noise put back).")
    for i, (now, then) in enumerate(pairwise(times)):
        t, s = now.expand(len(x)).to(x.device), then.expand(len(x)).to(x.device)
        if gamma == 0 or i == len(times) - 2:
            x = student(x, t, s, c)
        else:
            u = _quieter(student.process, s, gamma)
            x = student(x, t, u, c)
            if z is None:
                raise RecipeError(f"gamma is {gamma}, so {len(times) - 2} batches of fresh noise 'z' are needed.")
            x = student.process.renoise(x, z[i].to(x), u, s)
    return x


def strategic(student: FlowMap, x: X, times: Tensor, c: Cond = None, *, eta: float = 0.3, z: Tensor | None = None) -> X:
    """Walk down ``times`` as ``few_step`` does, by a share of the time in the place of the noise.

    Each step jumps to ``u = (1 - eta) s``, as stock samplers of the path name it, and is then diffused up to the next
    time s.  eta = 0: deterministic; eta = 1: to the data and all the noise anew.  ``z`` is needed when eta > 0 and
    n > 1.  On a table of levels the last step ends at the first of them, beside the data.
    Exact when the student is the flow map: every marginal is kept, for every eta.
    Source: TCD, arXiv 2402.19159, section 4.3 (their gamma); the table's rounding is that of diffusers' TCDScheduler.
    """
    for i, (now, then) in enumerate(pairwise(times)):
        t, s = now.expand(len(x)).to(x.device), then.expand(len(x)).to(x.device)
        u = student.process.earlier(s, eta)
        x = student(x, t, u, c)
        if eta > 0 and i < len(times) - 2:
            if z is None:
                raise RecipeError(f"eta is {eta}, so {len(times) - 2} batches of fresh noise 'z' are needed.")
            x = student.process.renoise(x, z[i].to(x), u, s)
    return x


def _quieter(process: Process, s: T, gamma: float) -> T:
    """Return the time whose noise level is ``sqrt(1 - gamma^2)`` times that of s; exactly 0 for gamma = 1."""
    if gamma == 1:
        return torch.zeros_like(s)
    return process.time(process.logsnr(s) - math.log(1 - gamma**2))


class Sampler(ABC):
    """How a trained network is meant to be sampled; travels with it.

    ``guidance`` are rules on top of the network, ``scale`` the guidance scale that a network is told which learned
    with drawn scales (None: it is told none).
    """

    schedule: Schedule
    guidance: tuple[Guidance, ...]
    scale: float | None

    @property
    @abstractmethod
    def made_for(self) -> tuple[int, ...]:
        """The numbers of steps that it is made for, the default first."""

    @abstractmethod
    def jumps(self, steps: int) -> int:
        """Return how often the guided network is asked for each item."""

    def calls(self, steps: int) -> int:
        """Return how often the bare network is called for each item: more often than it is asked under guidance."""
        return self.jumps(steps) * max((rule.passes for rule in self.guidance), default=1)

    @abstractmethod
    def path(self, denoiser: Denoises, x: X, steps: int, c: Cond, fresh: Tensor) -> X:
        """Carry x from the first time of the schedule to 0; ``fresh`` (k, b, ...) is noise for stochastic rules."""

    @abstractmethod
    def fresh(self, steps: int) -> int:
        """Return k, how many batches of fresh noise ``path`` wants."""

    def takes_negative(self, view: Denoises, steps: int) -> bool:
        """Say whether a negative condition makes a difference: to the network, or to a rule on top of it that is asked
        in some of so many steps."""
        if _takes(view, "negative"):
            return True
        asked, reached, taken = self.schedule.steps(steps)[:-1], True, False
        for rule in reversed(self.guidance):
            taken = taken or (reached and rule.against(None) is not rule)
            reached = reached and rule.reaches(view.process, asked)
        return taken

    @torch.no_grad()
    def sample(
        self, view: Denoises, seeds: Sequence[int], shape: Sequence[int], c: Cond, steps: int, negative: Cond = None
    ) -> X:
        """Sample one item of ``shape`` per seed, on the device of ``c`` or else the CPU.

        Item i depends on ``seeds[i]``, ``c[i]`` and ``negative[i]`` only, not on its neighbours.  The network is told
        the negative condition if it takes one, else the rules are; ``takes_negative`` says whether anybody does.
        """
        device = torch.device("cpu") if c is None else c.device
        noise = item_noise(seeds, shape, 1 + self.fresh(steps)).to(device)
        times = self.schedule.steps(steps)
        start = times[:1].to(device).expand(len(seeds))
        told, rules = dict[str, Tensor](), tuple(rule.on(times) for rule in self.guidance)
        if self.scale is not None:
            told["scale"] = torch.full((len(seeds),), self.scale, dtype=torch.float64, device=device)
        if negative is not None and _takes(view, "negative"):
            told["negative"] = negative
        elif negative is not None:
            rules = tuple(rule.against(negative) for rule in rules)
        denoiser = _told(view, told)
        for rule in rules:
            denoiser = rule(denoiser)
        return self.path(denoiser, view.process.prior(noise[0], start), steps, c, noise[1:])


def _takes(view: Denoises, name: str) -> bool:
    """Say whether this is the view of a network that has an argument of that name."""
    return isinstance(view, Denoiser) and view.takes(name)


def _told(view: Denoises, told: Mapping[str, Tensor]) -> Denoises:
    if not told:
        return view
    if not isinstance(view, Denoiser):
        raise RecipeError(f"only the view of a network can be told of {sorted(told)}; leave 'scale' out.")
    return view.told(told)


@dataclass(frozen=True)
class FewStep(Sampler):
    """A student's sampler: the times it was trained at, the noise put back between them, and how many steps.

    ``steps`` are those it was trained for, the first one the default.  ``gamma`` is the share of noise that is put
    back, as ``few_step`` takes it; ``eta`` that of time, as ``strategic`` does, in the place of gamma where given.
    Raises ``RecipeError`` for an eta beyond 0 to 1.
    """

    schedule: Schedule
    steps: tuple[int, ...] = (1, 2, 4)
    gamma: float = 1.0
    guidance: tuple[Guidance, ...] = ()
    scale: float | None = None
    eta: float | None = None

    def __post_init__(self) -> None:
        if self.eta is not None and not 0 <= self.eta <= 1:
            raise RecipeError(
                f"eta is {self.eta}; accepted is 0 (deterministic) to 1 (all noise put back), or none for gamma."
            )

    @property
    def made_for(self) -> tuple[int, ...]:
        """``steps``."""
        return self.steps

    def grid(self) -> list[float]:
        """Return the times of the longest path that it is made for; the shorter ones stop at some of them."""
        times: list[float] = self.schedule.points(max(self.steps)).tolist()
        return times

    def jumps(self, steps: int) -> int:
        """Return one per step."""
        return steps

    def fresh(self, steps: int) -> int:
        """Return one batch of noise between two steps, none when deterministic."""
        return steps - 1 if (self.gamma if self.eta is None else self.eta) > 0 else 0

    def path(self, denoiser: Denoises, x: X, steps: int, c: Cond, fresh: Tensor) -> X:
        """Jump and put noise back, ``steps`` times."""
        times = self.schedule.steps(steps)
        if self.eta is not None:
            return strategic(FlowMap(denoiser), x, times, c, eta=self.eta, z=fresh)
        return few_step(FlowMap(denoiser), x, times, c, gamma=self.gamma, z=fresh)


@dataclass(frozen=True)
class ManyStep(Sampler):
    """A teacher's sampler: a deterministic solver on a schedule."""

    schedule: Schedule
    solver: Solver = field(default_factory=Heun)
    steps: int = 18
    guidance: tuple[Guidance, ...] = ()
    scale: float | None = None

    @property
    def made_for(self) -> tuple[int, ...]:
        """``steps`` alone."""
        return (self.steps,)

    def jumps(self, steps: int) -> int:
        """Return what the solver needs."""
        return self.solver.calls(steps)

    def fresh(self, steps: int) -> int:
        """Return 0."""
        return 0

    def path(self, denoiser: Denoises, x: X, steps: int, c: Cond, fresh: Tensor) -> X:
        """Solve the probability-flow ODE."""
        return self.solver(denoiser, x, self.schedule.steps(steps), c)
