"""The loop: every learner that is due takes its turn on every batch, in the order of the recipe."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from torch import Tensor

from fewstep.batch import Batch
from fewstep.denoiser import Denoises
from fewstep.draws import Draws, dropout_from, seed_for
from fewstep.errors import RecipeError, nearest
from fewstep.scalars import Progress
from fewstep.training.learner import Learner
from fewstep.turn import Rollout, Turn

__all__ = ["Report", "Training", "train"]


@dataclass(frozen=True)
class Report:
    """What one turn tells: costs per term (means over the batch), the gradient norm, notes, and now and then the
    norm of each weighted term's gradient (None where a term does not reach the learner's parameters)."""

    step: int
    learner: str
    costs: Mapping[str, Tensor]
    norm: Tensor
    notes: Mapping[str, float]
    gradients: Mapping[str, float | None] = field(default_factory=dict)


@dataclass
class Training:
    """Learners that take turns, the frozen networks they look at, and how the student makes samples.

    ``frozen`` are denoisers by name, guided or not.  ``steps`` batches are planned; ``probe`` says how often the
    gradient of each term is measured by itself (0 = never).  Raises ``RecipeError`` when a term asks for a network
    that is neither.
    """

    learners: dict[str, Learner]
    rollout: Rollout
    frozen: Mapping[str, Denoises] = field(default_factory=dict)
    steps: int = 1000
    seed: int = 0
    probe: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        averages = {f"{name}.{average}" for name, each in self.learners.items() for average in each.averages}
        known = {*self.frozen, *self.learners, *averages}
        for name, learner in self.learners.items():
            learner.total = max(math.ceil((self.steps - learner.after) / learner.every), 1)
            for _, term in learner.terms.items():
                for wanted in set(term.networks()) - known:
                    raise RecipeError(
                        f"{type(term).__name__} of the learner {name!r} asks for the network {wanted!r}; "
                        f"{nearest(wanted, known)}"
                    )

    def prepare(self, accelerator: Accelerator) -> None:
        """Give every learner its device and wrapper; call once."""
        for learner in self.learners.values():
            learner.prepare(accelerator)
            learner.learn(False)

    def due(self, step: int) -> list[str]:
        """Return the learners whose turn comes at this step, in the order of the recipe."""
        return [
            name
            for name, learner in self.learners.items()
            if step >= learner.after and (step - learner.after) % learner.every == 0
        ]

    @contextmanager
    def only(self, name: str) -> Iterator[dict[str, Denoises]]:
        """Yield all networks by name, this learner's wrapped and learning, the others bare and frozen."""
        views: dict[str, Denoises] = dict(self.frozen)
        for other, learner in self.learners.items():
            views |= learner.views(other, mine=other == name)
        self.learners[name].learn(True)
        try:
            yield views
        finally:
            self.learners[name].learn(False)

    def probing(self, name: str) -> bool:
        """Say whether this learner's terms are measured one by one now."""
        return self.probe > 0 and self.learners[name].updates % self.probe == 0


def train(training: Training, batches: Iterable[Batch], accelerator: Accelerator) -> Iterator[Report]:
    """Let every learner that is due take its turn on every batch; yield a report after each turn.

    The caller's own loop logs, looks, saves and stops; ``training.step`` counts the batches that are done.
    """
    for step, batch in enumerate(batches, start=training.step):
        if step >= training.steps:
            return
        whole = batch.to(accelerator.device)
        reports = [_take_turn(training, name, whole, accelerator) for name in training.due(step)]
        training.step = step + 1  # before the reports go out: whoever saves on one saves whole steps
        yield from reports


def _take_turn(training: Training, name: str, batch: Batch, accelerator: Accelerator) -> Report:
    """Accumulate the gradient over the pieces of the batch, then update."""
    learner, sums, gradients = training.learners[name], dict[str, Tensor](), dict[str, float | None]()
    terms = learner.terms.active(learner.progress)
    with training.only(name) as views, dropout_from(_seed(training, name), accelerator.device):
        for i, piece in enumerate(pieces := _pieces(batch, learner.accumulate)):
            turn = _turn(training, name, views, piece, _draws(training, name, batch, i * len(piece.x0), accelerator))
            with nullcontext() if i == len(pieces) - 1 else accelerator.no_sync(learner.net):
                with accelerator.autocast():
                    costs = {term: cost(turn).mean() for term, cost in terms.items()}
                if training.probing(name) and i == 0:
                    gradients = _gradients(learner, costs)
                total = learner.terms.total(costs, learner.progress, learner.parameters)
                accelerator.backward(total / len(pieces))
            for term, cost in costs.items():
                sums[term] = sums.get(term, 0.0) + cost.detach() / len(pieces)
    learner.meet(accelerator)
    norm = torch.as_tensor(accelerator.clip_grad_norm_(learner.parameters.values(), learner.clip)).detach()
    if norm.isfinite():
        learner.update()
        learner.renew(seed_for(_seed(training, name), "renew"))
    else:
        learner.skip()
    return Report(training.step, name, sums, norm, turn.notes, gradients)


def _pieces(batch: Batch, count: int) -> list[Batch]:
    items = len(batch.x0)
    if items % count:
        raise RecipeError(f"a batch of {items} cannot be cut into {count} equal pieces; let accumulate divide it.")
    size = items // count
    return [batch.cut(i * size, (i + 1) * size) for i in range(count)]


def _seed(training: Training, name: str) -> int:
    return seed_for(training.seed, training.step, name)


def _draws(training: Training, name: str, batch: Batch, offset: int, accelerator: Accelerator) -> Draws:
    items = len(batch.x0)
    here = accelerator.process_index * items + offset
    return Draws(_seed(training, name), accelerator.device, here, accelerator.num_processes * items)


def _turn(training: Training, name: str, views: Mapping[str, Denoises], piece: Batch, draws: Draws) -> Turn:
    """Return a learner's turn; the rollout is at the same point for all of them, however late one begins to learn."""
    rollout = training.rollout.at(Progress(training.step, training.steps))
    return Turn(name, views, piece, draws, rollout, training.learners[name].progress)


def _gradients(learner: Learner, costs: Mapping[str, Tensor]) -> dict[str, float | None]:
    """Return the norm of the gradient of each term, None where no path leads to the parameters."""
    parameters, norms = list(learner.parameters.values()), dict[str, float | None]()
    for term, cost in costs.items():
        norms[term] = None
        if cost.requires_grad:
            found = torch.autograd.grad(cost, parameters, retain_graph=True, allow_unused=True)
            squares = [g.double().square().sum() for g in found if g is not None]
            norms[term] = float(torch.stack(squares).sum().sqrt()) if squares else None
    return norms
