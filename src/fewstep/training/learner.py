"""A network that learns: its objective, its optimiser, its pace."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from accelerate import Accelerator
from torch import nn

from fewstep.denoiser import Denoiser
from fewstep.errors import RecipeError, nearest
from fewstep.scalars import Progress, scalar
from fewstep.terms import Objective, Term
from fewstep.training.average import Average, Ema
from fewstep.training.optimisers import Optimiser

__all__ = ["Learner"]


@dataclass
class Learner:
    """A network with its own objective, optimiser and turn.

    ``every``: one turn in so many steps, from step ``after`` on; ``accumulate``: pieces a batch is cut into;
    ``clip``: largest gradient norm; ``averages``: moving averages by name, addressed as ``learner.average``;
    ``only``: regular expressions, one of which must be found in the name of every parameter that learns.
    """

    view: Denoiser
    objective: Objective | Term
    optimiser: Optimiser
    every: int = 1
    after: int = 0
    accumulate: int = 1
    clip: float = math.inf
    averages: Mapping[str, Ema] = field(default_factory=dict)
    only: Sequence[str] = ()
    updates: int = 0
    total: int = 1

    def __post_init__(self) -> None:
        if min(self.every, self.accumulate) < 1 or self.after < 0 or not self.clip > 0:
            raise RecipeError(
                f"a learner has every={self.every}, after={self.after}, accumulate={self.accumulate}, "
                f"clip={self.clip}; accepted are every >= 1, after >= 0, accumulate >= 1, clip > 0."
            )
        self.bare: nn.Module = self.view.net
        self.net: nn.Module = self.bare
        self.parameters = _chosen(self.bare, self.only)
        self.optimizer = self.optimiser(self.parameters.values())
        self.followers = {name: Average(self.bare, rule) for name, rule in self.averages.items()}

    @property
    def terms(self) -> Objective:
        """The objective, as a sum even when it is one term."""
        return self.objective if isinstance(self.objective, Objective) else 1.0 * self.objective

    @property
    def progress(self) -> Progress:
        """How far this learner is."""
        return Progress(self.updates, self.total)

    def prepare(self, accelerator: Accelerator) -> None:
        """Wrap the network together with its optimiser: one ``prepare`` per learner, as FSDP2 demands."""
        self.net, self.optimizer = accelerator.prepare(self.bare, self.optimizer)
        for follower in self.followers.values():
            follower.net.to(accelerator.device)

    def views(self, name: str, mine: bool) -> dict[str, Denoiser]:
        """Return this learner's network, wrapped in its own turn and bare otherwise, and its averages."""
        own = replace(self.view, net=self.net if mine else self.bare)
        return {name: own} | {
            f"{name}.{average}": replace(self.view, net=follower.net) for average, follower in self.followers.items()
        }

    def learn(self, yes: bool) -> None:
        """Give the parameters gradients and the network its training mode, or take both away."""
        if self.net.training != yes:
            self.net.train(yes)
            self.bare.train(yes)
            for follower in self.followers.values():
                follower.net.train(yes)
        for parameter in self.parameters.values():
            parameter.requires_grad_(yes)

    def update(self) -> None:
        """Step the optimiser at the current rate, then the averages; count."""
        rate = scalar(self.optimiser.lr, self.progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        for follower in self.followers.values():
            follower.follow(self.bare, self.progress)
        self.updates += 1

    def skip(self) -> None:
        """Drop the gradients of a turn that cannot be used; the turn still counts."""
        self.optimizer.zero_grad()
        self.updates += 1


def _chosen(net: nn.Module, only: Sequence[str]) -> dict[str, nn.Parameter]:
    """Return the parameters that learn, by name; the others stay as they are."""
    everything = dict(net.named_parameters())
    chosen = {name: p for name, p in everything.items() if not only or any(re.search(each, name) for each in only)}
    for name, parameter in everything.items():
        parameter.requires_grad_(name in chosen)  # so that wrappers know at once which gradients to wait for
    if not chosen:
        raise RecipeError(f"no parameter of the network matches {list(only)}; {nearest(only[0], everything)}")
    return chosen
