"""A network that learns: its objective, its optimiser, its pace."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import torch
from accelerate import Accelerator, DistributedType
from torch import nn

from fewstep.denoiser import Denoiser
from fewstep.draws import dropout_from
from fewstep.errors import RecipeError, nearest
from fewstep.scalars import Progress, scalar
from fewstep.sharing import shared_names
from fewstep.terms import Objective, Term
from fewstep.training.average import Average, Ema
from fewstep.training.optimisers import Optimiser

__all__ = ["Learner"]


@runtime_checkable
class Renews(Protocol):
    """A network that starts some of its parts anew after each update."""

    def renew(self) -> list[nn.Parameter]:
        """Draw them by torch's global generator, and return their parameters."""


@runtime_checkable
class Partial(Protocol):
    """A network, or a part of one, that may leave some of its parameters out of a turn."""

    @property
    def partial(self) -> bool:
        """Whether it does such a thing: other parameters in every process, maybe."""


@dataclass
class Learner:
    """A network with its own objective, optimiser and turn.

    ``every``: one turn in so many steps, from step ``after`` on; ``accumulate``: pieces a batch is cut into;
    ``clip``: largest gradient norm; ``averages``: moving averages by name, addressed as ``learner.average``;
    ``only``: regular expressions, one of which must be found in the name of every parameter that learns.
    ``base``: a frozen network whose parameters this one has in common with others.  They do not learn here, and are
    neither averaged nor saved with the learner; their names are ``shared``.
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
    base: nn.Module | None = None
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
        self.shared = frozenset[str]() if self.base is None else shared_names(self.bare, self.base)
        self.parameters = _chosen(self.bare, self.only, self.shared)
        self.optimizer = self.optimiser(self.parameters.values())
        learning = {id(parameter) for parameter in self.parameters.values()}
        still = [parameter for parameter in self.bare.parameters() if id(parameter) not in learning]
        self.partial = any(isinstance(part, Partial) and part.partial for part in self.bare.modules())
        self.followers = {name: Average(self.bare, rule, still) for name, rule in self.averages.items()}

    @property
    def terms(self) -> Objective:
        """The objective, as a sum even when it is one term."""
        return self.objective if isinstance(self.objective, Objective) else 1.0 * self.objective

    @property
    def progress(self) -> Progress:
        """How far this learner is."""
        return Progress(self.updates, self.total)

    def prepare(self, accelerator: Accelerator) -> None:
        """Wrap the network together with its optimiser: one ``prepare`` per learner, as FSDP2 demands.

        DDP would wait for gradients that do not come where a network leaves parameters out, or find out too late which
        they are when it is called twice in a turn: such a one is not wrapped, and ``meet`` does what DDP does.
        Raises ``RecipeError`` where sharding would cut a shared base into pieces, once for each learner.
        """
        if self.shared and accelerator.distributed_type == DistributedType.FSDP:
            raise RecipeError(
                "learners that share a frozen base were to be sharded by FSDP, which would cut the base once for each "
                "of them. Use one process or DDP (the base is there once in each process), or leave 'lora' out, and "
                "of critics 'only'."
            )
        self.partial &= accelerator.distributed_type != DistributedType.FSDP
        if self.partial:
            self.net = accelerator.prepare_model(self.bare, evaluation_mode=True)  # moved and cast, not wrapped
            self.optimizer = accelerator.prepare(self.optimizer)
        else:
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
            if self.bare is not self.net:
                self.bare.train(yes)
            for follower in self.followers.values():
                follower.net.train(yes)
        for parameter in self.parameters.values():
            parameter.requires_grad_(yes)

    def meet(self, accelerator: Accelerator) -> None:
        """Average the gradients over all processes, where no wrapper does; who has none in any of them keeps none."""
        if not self.partial or accelerator.num_processes == 1:
            return
        known = torch.tensor([parameter.grad is not None for parameter in self.parameters.values()])
        found = accelerator.reduce(known.float().to(accelerator.device), "sum")
        some = [parameter for parameter, count in zip(self.parameters.values(), found.tolist(), strict=True) if count]
        if not some:
            return
        grads = [(torch.zeros_like(each) if each.grad is None else each.grad).flatten() for each in some]
        means = accelerator.reduce(torch.cat(grads), "mean").split([each.numel() for each in some])
        for parameter, mean in zip(some, means, strict=True):
            parameter.grad = mean.view_as(parameter)

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

    def renew(self, seed: int) -> None:
        """Let the network start parts anew, if it does such a thing, and forget what the optimiser knew of them."""
        if isinstance(self.bare, Renews):
            with dropout_from(seed, next(self.bare.parameters()).device):
                for parameter in self.bare.renew():
                    self.optimizer.state.pop(parameter, None)

    def skip(self) -> None:
        """Drop the gradients of a turn that cannot be used; the turn still counts."""
        self.optimizer.zero_grad()
        self.updates += 1


def _chosen(net: nn.Module, only: Sequence[str], shared: Collection[str]) -> dict[str, nn.Parameter]:
    """Return the parameters that learn, by name; the others stay as they are."""
    for name in shared:
        net.get_parameter(name).requires_grad_(False)
    everything = {name: parameter for name, parameter in net.named_parameters() if name not in shared}
    chosen = {name: p for name, p in everything.items() if not only or any(re.search(each, name) for each in only)}
    for name, parameter in everything.items():
        parameter.requires_grad_(name in chosen)  # so that wrappers know at once which gradients to wait for
    if not chosen:
        raise RecipeError(f"no parameter of the network matches {list(only)}; {nearest(only[0], everything)}")
    return chosen
