"""Before a distillation: the memory, the calls and the hours that it takes, and what to change when it does not fit."""

import os
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from fewstep.batch import Batch
from fewstep.errors import RecipeError
from fewstep.evaluate import Judge
from fewstep.jobs.calibrate import Meter, counting, cycle, go_to, peak_of, timed
from fewstep.jobs.health import SEEDS
from fewstep.jobs.machine import this_machine
from fewstep.jobs.pulse import EVERY, beat_size, conditions_of, raw, room
from fewstep.model import Model
from fewstep.recipes import Assembly, PairsSpec, Recipe, assemble, guide, numbered
from fewstep.training import Training, train
from fewstep.training.held import Held, held_by

__all__ = ["Ask", "Plan", "advice", "plan", "resized"]

FEW = 2  # items of the smallest batch that is tried, in each piece that it is cut into
ROOM = 0.8  # of the memory may be taken by what is tried
TIMED = 32  # items that are sampled to see how long that takes
SAMPLED = 512  # items that a look samples at once, at most
JUDGED = 10_000  # real items that a judge holds, at most
MB = 1e6


@dataclass(frozen=True)
class Ask:
    """What is planned: a recipe for a teacher, and the machine.

    ``example`` are a few items like those of the training, of ``items`` in all; ``judge`` looks at samples meanwhile
    (None: at another resolution there is none).  ``memory`` are the bytes of a device (None: those that this one has),
    ``seconds`` how long updates are tried.
    """

    recipe: Recipe
    teacher: Model
    example: Batch
    items: int
    judge: Judge | None = None
    devices: int = 1
    memory: float | None = None
    seconds: float = 30.0


@dataclass(frozen=True)
class Plan:
    """What a distillation takes, in bytes and seconds, on each of ``devices``.

    ``held`` are the networks; ``base`` is the process without them, ``turns`` and ``looks`` the most that updates and
    looks at samples take beside, ``each`` what one item of the batch adds to ``turns``.  ``calls`` are network calls
    per item and update, by learner; ``seconds`` are those of a batch, ``spent`` those of the run by what they are for.
    ``tried`` counts the batches behind these numbers, of ``size`` items: where the recipe's are larger, they would not
    have fitted, and what is said of them is extended from there.
    """

    recipe: Recipe
    held: Sequence[Held]
    base: float
    turns: float
    looks: float
    each: float
    memory: float
    calls: Mapping[str, Mapping[str, float]]
    seconds: float
    spent: Mapping[str, float]
    tried: int
    size: int
    devices: int = 1

    @property
    def kept(self) -> int:
        """What is held all the time: weights, averages, the optimisers' state."""
        return sum(each.total - each.gradients for each in self.held)

    @property
    def buckets(self) -> int:
        """The copies of gradients that several devices exchange."""
        return sum(each.gradients for each in self.held) if self.devices > 1 else 0

    @property
    def peak(self) -> float:
        """The most that is taken at once."""
        return self.base + self.kept + self.buckets + max(self.turns, self.looks)

    @property
    def fits(self) -> bool:
        """Whether there is so much."""
        return self.peak <= self.memory

    @property
    def hours(self) -> float:
        """The hours of the whole run."""
        return sum(self.spent.values()) / 3600


def plan(ask: Ask) -> Plan:
    """Try a few updates with batches that fit, and say what the whole distillation takes."""
    ask = replace(ask, recipe=numbered(ask.recipe, ask.teacher.classes))
    recipe, accelerator = ask.recipe, this_machine()
    cuda = accelerator.device.type == "cuda"
    ask.teacher.to("cpu")
    assembly = assemble(recipe, ask.example, len(ask.teacher.classes), ask.teacher, 0, ask.teacher)
    training, frozen = assembly.training, dict(zip(recipe.frozen, assembly.beside, strict=True))
    for net in (ask.teacher.view.net, *frozen.values()):
        net.to(accelerator.device)
    training.prepare(accelerator)
    batch = _repeated(ask.example, recipe.batch).to(accelerator.device)
    least = min(FEW * max(learner.accumulate for learner in training.learners.values()), recipe.batch)
    _warm(training, batch.cut(0, least), accelerator)
    _judged_seconds(ask)  # what it needs is there from now on
    held, memory = held_by(training, frozen), ask.memory or _there(cuda)
    base = 0.0 if cuda else max(_taken() - sum(each.total - each.gradients for each in held), 0.0)
    turns, each, size = _turns(training, batch, least, accelerator, ROOM * memory - base - sum(h.total for h in held))
    with counting(training, frozen) as calls:
        seconds, tried = timed(training, batch.cut(0, size), accelerator, calls, ask.seconds)
    seconds *= recipe.batch / size
    looks, spent = _looks(ask, assembly), {"updates": recipe.steps * seconds, **_sampling(ask, assembly)}
    measured = (calls.per_item(size), seconds, spent, tried, size, ask.devices)
    return Plan(recipe, held, base, turns, looks, each, memory, *measured)


def advice(found: Plan) -> list[str]:
    """Say what would save how much, the most first; what is lost with it stands beside."""
    half = (found.recipe.batch // 2) * found.each
    learners = {each.name: each for each in found.held if each.learning}
    options = [
        (half, f"--set {' --set '.join(f'learners.{name}.accumulate=2' for name in learners)}: the same updates in "
         "pieces of half the size, a little slower"),
        (half, f"--set batch={max(found.recipe.batch // 2, 1)}: noisier updates, in half the time"),
    ]  # fmt: skip
    for name, each in learners.items():
        spare = {average: size for average, size in each.averages.items() if average != found.recipe.keep}
        options += [(size, f"learners.{name}.averages without {average!r}") for average, size in spare.items()]
        if found.recipe.learners[name].lora is None and found.recipe.learners[name].from_:
            saved = each.total - each.total * 8 // 100  # of rank 8: some percent of the weights learn
            options.append((saved, f"--set learners.{name}.lora.rank=8: an adapter on the teacher's own weights"))
    if found.recipe.base is None and any(found.recipe.learners[name].lora for name in learners):
        frozen = sum(each.weights for each in found.held if not each.learning)
        options.append((frozen / 2, "--set base=bfloat16: the shared weights in half the bits"))
    options.append((half, "a smaller --resolution: memory and time fall with the number of pixels"))
    return [f"{saved / MB:,.0f} MB less: {words}" for saved, words in sorted(options, key=lambda each: -each[0])]


def resized(example: Batch, shape: tuple[int, ...], pairs: PairsSpec | None) -> Batch:
    """Return items of another shape, of noise: what an update takes does not depend on what is in them.

    ``pairs`` adds the noise and the states that stored pairs have.
    """
    draw, count = torch.Generator().manual_seed(0), len(example.x0)
    same = tuple(example.x0.shape[1:]) == shape
    x0 = example.x0 if same else torch.randn(count, *shape, generator=draw) * example.x0.std()
    if pairs is None:
        return Batch(x0, example.c)
    z = torch.randn(x0.shape, generator=draw)
    path = x0[:, None].expand(-1, pairs.steps, *shape).clone() if pairs.path else None
    return Batch(x0, example.c, z, path)


def _turns(
    training: Training, batch: Batch, least: int, accelerator: Accelerator, room: float
) -> tuple[float, float, int]:
    """Return what turns take at most, what an item adds to it, and how many items could be tried."""
    whole, double = len(batch.x0), min(2 * least, len(batch.x0))
    small = peak_of(training, batch.cut(0, least), accelerator)
    twice = peak_of(training, batch.cut(0, double), accelerator)
    each = max(twice - small, 0) / max(double - least, 1)
    extended = small + each * (whole - least)
    if extended > room:
        return float(extended), each, double
    peak = peak_of(training, batch, accelerator)
    return float(peak), max(peak - small, 0) / max(whole - least, 1), whole


def _warm(training: Training, batch: Batch, accelerator: Accelerator) -> None:
    """Let every learner make an update, so that its optimiser has a state."""
    go_to(training, 0.5)
    for name, learner in training.learners.items():
        if learner.after > training.step:
            raise RecipeError(f"the learner {name!r} begins after half of the training, too late to plan with.")
    for _ in train(training, [batch] * cycle(training), accelerator):
        pass


def _repeated(example: Batch, count: int) -> Batch:
    """Return as many items as asked for, over and over the same."""
    index = torch.arange(count) % len(example.x0)
    parts = (None if part is None else part[index] for part in (example.c, example.z, example.path))
    return Batch(example.x0[index], *parts)


def _student(ask: Ask, assembly: Assembly) -> Model:
    shape = tuple(ask.example.x0.shape[1:])
    return replace(ask.teacher, view=assembly.student, sampler=ask.recipe.sampler, shape=shape)


def _conditions(model: Model, example: Batch, count: int) -> Tensor | None:
    return _repeated(example, count).c if model.conditional else None


def _looks(ask: Ask, assembly: Assembly) -> float:
    """Return the bytes that a look takes beside what is held: samples without a graph, and the real items."""
    model, peaks = _student(ask, assembly), list[int]()
    for count in (FEW, 2 * FEW):
        with Meter() as meter:
            model.sample(range(count), _conditions(model, ask.example, count), max(model.sampler.made_for))
        peaks.append(meter.peak)
    each = (peaks[1] - peaks[0]) / FEW
    real = min(ask.items, JUDGED) * ask.example.x0[0].nbytes
    return float(peaks[0] + each * (min(SAMPLED, ask.recipe.judged) - FEW) + real)


def _sampling(ask: Ask, assembly: Assembly) -> dict[str, float]:
    """Return the seconds of looks, of the pulse, and of pairs that are made before."""
    recipe, model = ask.recipe, _student(ask, assembly)
    few, many = min(model.sampler.made_for), max(model.sampler.made_for)
    judged = sum(_seconds(model, ask.example, steps) + _judged_seconds(ask) for steps in {few, many}) * recipe.judged
    known = len(conditions_of(model, ask.example.c))
    seeds = _seconds(model, ask.example, model.steps) * SEEDS * known
    felt, beats = raw(model, assembly.training), recipe.learners["student"].updates(recipe.steps) / EVERY
    beat = _seconds(felt, ask.example, min(felt.sampler.made_for)) * beat_size(known, room(felt, recipe.batch))
    spent = {"looks": recipe.looks * (judged + seeds), "pulse": beats * beat}
    if recipe.pairs is None:
        return spent
    return spent | {"pairs": recipe.pairs.count * _pair_seconds(recipe.pairs, ask)}


def _seconds(model: Model, example: Batch, steps: int) -> float:
    """Return the seconds that a sample takes, after a warm-up."""
    c = _conditions(model, example, TIMED)
    model.sample(range(FEW), None if c is None else c[:FEW], steps)
    start = time.perf_counter()
    model.sample(range(TIMED), c, steps)
    return (time.perf_counter() - start) / TIMED


def _judged_seconds(ask: Ask) -> float:
    """Return the seconds that it takes to judge a sample."""
    if ask.judge is None:
        return 0.0
    items = _repeated(ask.example, max(TIMED, ask.recipe.judged)).x0
    start = time.perf_counter()
    ask.judge.distance(items)
    return (time.perf_counter() - start) / len(items)


@torch.no_grad()
def _pair_seconds(spec: PairsSpec, ask: Ask) -> float:
    """Return the seconds that a pair takes, after a warm-up."""
    view, seconds = ask.teacher.view, 0.0
    device = next(view.net.parameters()).device
    times, guided = spec.schedule.steps(spec.steps), guide(view, spec.guidance)
    for count in (FEW, TIMED):
        items = _repeated(ask.example, count).to(device)
        x = view.process.prior(torch.randn_like(items.x0), times[:1].to(device).expand(count))
        start = time.perf_counter()
        spec.solver(guided, x, times, items.c)
        seconds = (time.perf_counter() - start) / count
    return seconds


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
