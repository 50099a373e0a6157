"""What every term must hold."""

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.draws import Draws
from fewstep.networks import MLP, Headed
from fewstep.predict import EDM
from fewstep.process import Process
from fewstep.scalars import Progress
from fewstep.terms import Term
from fewstep.testing.error import require
from fewstep.training.rollouts import OneStep
from fewstep.turn import Turn
from fewstep.types import Cond

__all__ = ["check_term", "small_views"]

ITEMS = 16


def small_views(process: Process) -> dict[str, Denoiser]:
    """Return a student with a target average, a teacher and a fake score with heads: random networks for points."""
    views = {name: Denoiser(_network(seed), process, EDM()) for seed, name in enumerate(("student", "teacher"))}
    body, like = _network(2), torch.zeros(2, 2, dtype=torch.float64)
    views["fake_score"] = Denoiser(Headed(body, "middle.0", (like, like[:, 0], None)).double(), process, EDM())
    views["student.target"] = replace(views["student"], net=copy.deepcopy(views["student"].net))
    return views


def _network(seed: int) -> MLP:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return MLP(features=2, width=16, depth=1).double()


def check_term(
    term: Term, process: Process, me: str = "student", views: Mapping[str, Denoiser] | None = None, c: Cond = None
) -> None:
    """Raise ``ConformanceError`` unless the term is a cost per item that teaches the learner ``me``, and only it.

    ``views`` are the networks by name, ``small_views`` by default; the batch holds 16 points (16, 2), their
    conditions ``c`` and stored noise.
    The term must find everything it needs among ``me``, its averages and what ``networks()`` names.
    """
    known = {**(small_views(process) if views is None else views)}
    asked = {name for name in known if name.split(".")[0] == me} | set(term.networks())
    require(asked <= set(known), f"networks() names known networks (it names {sorted(asked - set(known))})")
    require(isinstance(hash(term), int), "a term is a frozen dataclass, so it has a hash")
    require(bool(term.SOURCE), "a term names its source")
    chosen = {name: known[name] for name in asked}
    cost = term(_turn(chosen, me, process, c))
    require(cost.shape == (ITEMS,) and bool(cost.isfinite().all()), "one finite cost per item")
    require(torch.equal(cost, term(_turn(chosen, me, process, c))), "the same draws give the same cost")
    _check_gradient(cost, chosen, me)


def _check_gradient(cost: Tensor, views: Mapping[str, Denoiser], me: str) -> None:
    require(cost.requires_grad, "the cost depends on the learner")
    cost.mean().backward()  # type: ignore[no-untyped-call]
    for name, view in views.items():
        for parameter in view.net.parameters():
            if name != me:
                require(parameter.grad is None and not parameter.requires_grad, f"the network {name!r} stays frozen")
    grads = [p.grad for p in views[me].net.parameters() if p.grad is not None]
    require(any(bool(grad.any()) for grad in grads), "a weight above 0 changes the learner")
    require(all(bool(grad.isfinite().all()) for grad in grads), "the gradient is finite")


def _turn(views: Mapping[str, Denoiser], me: str, process: Process, c: Cond) -> Turn:
    for name, view in views.items():
        view.net.requires_grad_(name == me)
        view.net.zero_grad()
    generator = torch.Generator().manual_seed(3)
    x0, z = torch.randn(2, ITEMS, 2, generator=generator, dtype=torch.float64)
    batch, draws = Batch(x0 * process.sigma_data, c, z), Draws(4, x0.device)
    return Turn(me, views, batch, draws, OneStep(process.t_max), Progress(1, 4))
