"""The memory that a distillation takes: what it holds, and what updates and looks at samples take beside."""

import os
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator

from fewstep.batch import Batch
from fewstep.evaluate import PART
from fewstep.interop.pipe import AT_ONCE
from fewstep.jobs.ask import Ask
from fewstep.jobs.calibrate import Meter, peak_of
from fewstep.jobs.health import SEEDS
from fewstep.jobs.pairs import solved
from fewstep.jobs.pulse import conditions_of
from fewstep.model import Model
from fewstep.recipes import Assembly, PairsSpec, Recipe
from fewstep.sampling import ManyStep
from fewstep.training import Training
from fewstep.training.held import Held, storage_bytes

__all__ = [
    "FEW",
    "LOOKS",
    "PAIRS",
    "PICTURES",
    "TEACHERS",
    "UPDATES",
    "Memory",
    "Rise",
    "least_of",
    "memory_of",
    "together",
]

FEW = 2  # items of the smallest batch that is tried, in each piece that it is cut into
ROOM = 0.8  # of the memory may be taken by what is tried
JUDGED = 10_000  # real items that a judge holds, at most
UPDATES, LOOKS, TEACHERS, PICTURES = "updates", "looks at samples", "samples of the teacher", "pictures of samples"
PAIRS = "pairs before the training"


@dataclass(frozen=True)
class Rise:
    """Bytes that grow with the items that are there together: ``fixed``, and ``each`` for every one of ``items``."""

    fixed: float
    each: float
    items: int

    @classmethod
    def through(cls, small: tuple[int, int], large: tuple[int, int], items: int) -> "Rise":
        """Return the line through two measurements, (items, bytes); one that falls is taken for level."""
        (few, low), (many, high) = small, large
        each = float(max(high - low, 0) / max(many - few, 1))
        return cls(max(low - each * few, high - each * many), each, items)

    @property
    def total(self) -> float:
        """All of them."""
        return self.fixed + self.each * self.items

    def at(self, items: int) -> "Rise":
        """Return what another number of items takes."""
        return replace(self, items=items)


@dataclass(frozen=True)
class Memory:
    """What a distillation takes on each of ``devices``, in bytes, where so many are ``there``.

    ``held`` are the networks; ``base`` is the process without them; ``beside`` is what is taken for a while, by what
    it is for, one after the other.  ``before`` is what pairs take that are made before, with the models that are held
    then.
    """

    held: Sequence[Held]
    base: float
    beside: Mapping[str, Rise]
    there: float
    devices: int = 1
    before: Rise | None = None

    @property
    def kept(self) -> int:
        """What is held all the time: weights, averages, the optimisers' state."""
        return sum(each.total - each.gradients for each in self.held)

    @property
    def buckets(self) -> int:
        """The copies of gradients that several devices exchange."""
        return sum(each.gradients for each in self.held) if self.devices > 1 else 0

    @property
    def dearest(self) -> str:
        """What takes the most beside what is held."""
        return max(self.beside, key=lambda name: self.beside[name].total)

    @property
    def early(self) -> bool:
        """Whether the most is taken before the training."""
        return (
            self.before is not None and self.before.total > self.kept + self.buckets + self.beside[self.dearest].total
        )

    @property
    def peak(self) -> float:
        """The most that is taken at once."""
        if self.before is not None and self.early:
            return self.base + self.before.total
        return self.base + self.kept + self.buckets + self.beside[self.dearest].total

    @property
    def fits(self) -> bool:
        """Whether there is so much."""
        return self.peak <= self.there


def memory_of(ask: Ask, assembly: Assembly, accelerator: Accelerator) -> tuple[Memory, int]:
    """Return what a training takes whose learners have made an update, and how many items could be tried."""
    recipe, training, cuda = ask.recipe, assembly.training, accelerator.device.type == "cuda"
    held = ask.held(recipe, assembly, cuda)
    kept, there = sum(each.total - each.gradients for each in held), ask.memory or _there(cuda)
    base = 0.0 if cuda else max(_taken() - kept, 0.0)
    room = ROOM * there - base - sum(each.total for each in held)
    turns, size = _turns(training, ask.batch(recipe.batch).to(accelerator.device), least_of(recipe), accelerator, room)
    rises = {UPDATES: turns} | _looks(ask, assembly, cuda)
    count = together(recipe, len(conditions_of(ask.teacher, ask.example.c)))
    beside = {name: rise.at(count[name]) for name, rise in rises.items()}
    before = None if recipe.pairs is None else _pairs(recipe.pairs, ask, cuda).at(count[PAIRS])
    return Memory(held, base, beside, there, ask.devices, before), size


def least_of(recipe: Recipe) -> int:
    """Return how many items the smallest batch has that is tried."""
    return min(FEW * max(learner.accumulate for learner in recipe.learners.values()), recipe.batch)


def together(recipe: Recipe, known: int) -> dict[str, int]:
    """Return how many items there are together, by what they are for, where so many conditions are looked at."""
    seen, pairs = max(recipe.judged, SEEDS * known), recipe.pairs
    return {
        PAIRS: 0 if pairs is None else min(recipe.at_once, pairs.shard, pairs.count),
        UPDATES: recipe.batch,
        LOOKS: min(recipe.at_once, seen),
        TEACHERS: min(recipe.at_once, SEEDS * known),
        PICTURES: min(PART, seen),
    }


def _turns(training: Training, batch: Batch, least: int, accelerator: Accelerator, room: float) -> tuple[Rise, int]:
    """Return what turns take at most, and how many items could be tried."""
    whole, double = len(batch.x0), min(2 * least, len(batch.x0))
    small, twice = ((count, peak_of(training, batch.cut(0, count), accelerator)) for count in (least, double))
    rise = Rise.through(small, twice, whole)
    if rise.total > room:
        return rise, double
    return Rise.through(small, (whole, peak_of(training, batch, accelerator)), whole), whole


def _looks(ask: Ask, assembly: Assembly, cuda: bool) -> dict[str, Rise]:
    """Return what looks take beside what is held: samples without a graph, and the real items.

    Where samples are latents, an autoencoder that stays in the memory of the CPU makes pictures of them, so many at
    once.
    """
    student, teacher = ask.student(assembly), replace(ask.teacher, shape=tuple(ask.example.x0.shape[1:]))
    samples = _sampled(ask, student, max(student.sampler.made_for))
    real = min(ask.items, JUDGED) * ask.example.x0[0].nbytes
    found = {LOOKS: replace(samples, fixed=samples.fixed + real), TEACHERS: _sampled(ask, teacher, _few(teacher))}
    if ask.pictures is None or cuda:
        return found
    made, decode = list[int](), ask.pictures

    def shown(count: int) -> None:
        made.append(decode(ask.batch(count).x0)[0].nbytes)

    return found | {PICTURES: Rise(_measured(shown, 1).at(min(AT_ONCE, ask.recipe.judged)).total, float(made[0]), 0)}


def _pairs(spec: PairsSpec, ask: Ask, cuda: bool) -> Rise:
    """Return what it takes to make pairs, with the models that were given; a shard of them is there on the CPU."""
    given = {id(net): net for net in (ask.teacher.view.net, (ask.origin or ask.teacher).view.net)}.values()
    fixed = sum(storage_bytes((*net.parameters(), *net.buffers()), set()) for net in given)
    if not cuda:
        states = 2 + (spec.steps if spec.path else 0)
        fixed += states * min(spec.shard, spec.count) * ask.example.x0[0].nbytes
    made = _measured(lambda count: solved(spec, ask.teacher, ask.batch(count).x0, ask.batch(count).c), FEW)
    return replace(made, fixed=made.fixed + fixed)


def _few(model: Model) -> int:
    """Return a small number of steps that a model can be sampled in; how many makes no difference to the memory."""
    return 2 if isinstance(model.sampler, ManyStep) else min(model.sampler.made_for)


def _sampled(ask: Ask, model: Model, steps: int) -> Rise:
    return _measured(lambda count: model.sample(range(count), ask.conditions(model, count), steps), FEW)


def _measured(act: Callable[[int], object], few: int) -> Rise:
    """Return what doing something with ``few`` and twice as many items takes."""
    peaks = list[tuple[int, int]]()
    for count in (few, 2 * few):
        with Meter() as meter:
            act(count)
        peaks.append((count, meter.peak))
    small, large = peaks
    return Rise.through(small, large, 0)


def _there(cuda: bool) -> float:
    """Return the bytes of memory of this device."""
    if cuda:
        return float(torch.cuda.mem_get_info()[1])
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _taken() -> float:
    """Return the bytes that this process takes now (where the system does not say: took at most)."""
    pages = Path("/proc/self/statm")
    if pages.is_file():
        return float(int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(most if sys.platform == "darwin" else 1024 * most)
