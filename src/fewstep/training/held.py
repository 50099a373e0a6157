"""What a training holds in memory between two turns, in bytes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fewstep.training.learner import Learner
from fewstep.training.loop import Training

__all__ = ["Held", "held_by", "storage_bytes"]


@dataclass(frozen=True)
class Held:
    """One network and what it brings with it: numbers of parameters, those that learn, and bytes of all it holds.

    What it has in common with a network before it counts there.  ``gradients`` are there from a backward pass to the
    update, the others always; the optimiser's state comes with the first update.
    """

    name: str
    parameters: int
    learning: int
    weights: int
    averages: Mapping[str, int]
    gradients: int
    optimiser: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + sum(self.averages.values()) + self.gradients + self.optimiser


def held_by(training: Training, frozen: Mapping[str, nn.Module]) -> list[Held]:
    """Return what every learner and every frozen network holds, the learners first.

    Exact once every learner has made an update; before, optimisers have no state.
    """
    seen: set[int] = set()
    found = [_of_learner(name, learner, seen) for name, learner in training.learners.items()]
    return found + [
        Held(name, _count(net.parameters()), 0, storage_bytes(_tensors(net), seen), {}, 0, 0)
        for name, net in frozen.items()
    ]


def storage_bytes(tensors: Iterable[Tensor], seen: set[int]) -> int:
    """Return the bytes behind tensors, each memory once and none that was ``seen`` before."""
    total = 0
    for tensor in tensors:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            total += storage.nbytes()
    return total


def _of_learner(name: str, learner: Learner, seen: set[int]) -> Held:
    learning = list(learner.parameters.values())
    state = [value for entry in learner.optimizer.state_dict()["state"].values() for value in entry.values()]
    return Held(
        name,
        parameters=_count(learner.bare.parameters()),
        learning=_count(learning),
        weights=storage_bytes(_tensors(learner.bare), seen),
        averages={
            average: storage_bytes(_tensors(follower.net), seen) for average, follower in learner.followers.items()
        },
        gradients=sum(parameter.nbytes for parameter in learning),
        optimiser=sum(value.nbytes for value in state if torch.is_tensor(value)),
    )


def _tensors(net: nn.Module) -> list[Tensor]:
    return [*net.parameters(), *net.buffers()]


def _count(parameters: Iterable[Tensor]) -> int:
    return sum(parameter.numel() for parameter in parameters)
