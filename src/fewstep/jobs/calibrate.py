"""Measuring a few real updates: how much memory they take at most, which networks they call, and how long they last."""

import math
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fewstep.batch import Batch
from fewstep.training import Training, train

__all__ = ["PLACES", "Calls", "Meter", "counting", "cycle", "go_to", "peak_of", "timed"]

PLACES = (0.5, 0.05, 0.95, 0.25, 0.75, 0.15, 0.85, 0.35, 0.65, 0.45, 0.55)  # of a training, whose terms come and go


class Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors that are made while it is on and still there: ``now``, and at most ``peak``."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation and see what is new."""
        made = func(*args, **(kwargs or {}))
        old = {_storage(each) for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
        for each in tree_leaves(made):
            if isinstance(each, Tensor) and _storage(each) not in old | self._known:
                self._add(each)
        return made

    def _add(self, tensor: Tensor) -> None:
        storage, place = tensor.untyped_storage(), _storage(tensor)
        size = storage.nbytes()
        self._known.add(place)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, place, size)

    def _remove(self, place: int, size: int) -> None:
        self._known.discard(place)
        self.now -= size


@dataclass
class Calls:
    """How many items every network was asked about, by the learner whose turn it was, and how many turns there were."""

    items: dict[str, Counter[str]] = field(default_factory=dict)
    turns: Counter[str] = field(default_factory=Counter)

    def per_item(self, batch: int) -> dict[str, dict[str, float]]:
        """Return the calls for each item of a batch, by learner and network."""
        return {
            learner: {name: asked / (batch * self.turns[learner]) for name, asked in counts.items()}
            for learner, counts in self.items.items()
        }


@contextmanager
def counting(training: Training, frozen: Mapping[str, nn.Module]) -> Iterator[Calls]:
    """Count every call of the networks of a training; one that has two names goes by the first."""
    calls, networks = Calls(), networks_of(training, frozen)
    names: dict[int, str] = {}
    for name, net in networks.items():
        names.setdefault(id(net), name)

    def ask(net: nn.Module, args: tuple[Tensor, ...]) -> None:
        for learner in (name for name, each in training.learners.items() if each.bare.training):
            calls.items.setdefault(learner, Counter())[names[id(net)]] += len(args[0])

    handles = [net.register_forward_pre_hook(ask) for net in {id(net): net for net in networks.values()}.values()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def networks_of(training: Training, frozen: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Return all networks of a training by name, averages as ``learner.average``."""
    found: dict[str, nn.Module] = {}
    for name, learner in training.learners.items():
        found[name] = learner.bare
        found |= {f"{name}.{average}": follower.net for average, follower in learner.followers.items()}
    return found | dict(frozen)


def cycle(training: Training) -> int:
    """Return after how many batches the order of the turns begins again."""
    return math.lcm(*(learner.every for learner in training.learners.values()))


def go_to(training: Training, place: float) -> None:
    """Pretend that a share of the training is done."""
    apart = cycle(training)
    training.step = min(int(place * training.steps), max(training.steps - 2 * apart, 0)) // apart * apart
    for learner in training.learners.values():
        learner.updates = int(max(training.step - learner.after, 0) / learner.every)


def peak_of(training: Training, batch: Batch, accelerator: Accelerator) -> int:
    """Return the most bytes that turns on such a batch take beside what is held, at the dearest of three places."""
    on_cuda, peak = accelerator.device.type == "cuda", 0
    probe, training.probe = training.probe, 1  # the gradients of single terms take the most
    for place in PLACES[:3]:
        go_to(training, place)
        if on_cuda:
            torch.cuda.reset_peak_memory_stats()
        meter, before = Meter(), torch.cuda.memory_allocated() if on_cuda else 0
        with nullcontext() if on_cuda else meter:
            for _ in train(training, [batch] * cycle(training), accelerator):
                pass
        peak = max(peak, torch.cuda.max_memory_allocated() - before if on_cuda else meter.peak)
    training.probe = probe
    return peak


def timed(
    training: Training, batch: Batch, accelerator: Accelerator, calls: Calls, seconds: float
) -> tuple[float, int]:
    """Return the seconds for each batch, on average over a training, and how many batches were tried.

    After two places no new one is begun when ``seconds`` are over.
    """
    began, found, apart = time.perf_counter(), list[float](), cycle(training)
    training.probe = training.probe if training.probe == 1 else 0  # rare probes must not fall among so few turns
    for i, place in enumerate(PLACES):
        if i >= 2 and time.perf_counter() - began > seconds:
            break
        go_to(training, place)
        start = time.perf_counter()
        for report in train(training, [batch] * apart, accelerator):
            calls.turns[report.learner] += 1
        if accelerator.device.type == "cuda":
            torch.cuda.synchronize()
        if i > 0:  # the first one warms up
            found.append((time.perf_counter() - start) / apart)
    return sum(found) / len(found), apart * len(found)


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
