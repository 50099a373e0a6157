"""Before a distillation: the memory, the calls and the hours that it takes."""

from dataclasses import dataclass

from accelerate import Accelerator

from fewstep.batch import Batch
from fewstep.errors import RecipeError
from fewstep.jobs.ask import Ask
from fewstep.jobs.calibrate import counting, cycle, go_to, timed
from fewstep.jobs.hours import Pace, judged_seconds, spent_beside
from fewstep.jobs.machine import this_machine
from fewstep.jobs.memory import Memory, least_of, memory_of
from fewstep.recipes import Assembly, Recipe
from fewstep.training import Training, train

__all__ = ["Plan", "measured", "plan"]


@dataclass(frozen=True)
class Plan:
    """What a distillation by a recipe takes: memory, and calls and time."""

    recipe: Recipe
    memory: Memory
    pace: Pace


def plan(ask: Ask) -> Plan:
    """Try a few updates with batches that fit, and say what the whole distillation takes."""
    recipe, accelerator = ask.recipe, this_machine()
    assembly = _ready(ask, accelerator)
    judged_seconds(ask)  # what it needs is there from now on
    memory, size = memory_of(ask, assembly, accelerator)
    training, batch = assembly.training, ask.batch(size).to(accelerator.device)
    with counting(training, ask.frozen(recipe, assembly, accelerator.device.type == "cuda")) as calls:
        seconds, tried = timed(training, batch, accelerator, calls, ask.seconds)
    seconds *= recipe.batch / size
    spent = {"updates": recipe.steps * seconds, **spent_beside(ask, assembly)}
    return Plan(recipe, memory, Pace(calls.per_item(size), seconds, spent, tried, size))


def measured(ask: Ask) -> Memory:
    """Return the memory alone."""
    accelerator = this_machine()
    return memory_of(ask, _ready(ask, accelerator), accelerator)[0]


def _ready(ask: Ask, accelerator: Accelerator) -> Assembly:
    """Return the learners on the device, each after an update, so that its optimiser has a state."""
    assembly = ask.assembled(ask.recipe)
    for net in (ask.teacher.view.net, *ask.frozen(ask.recipe, assembly, cuda=False).values()):
        net.to(accelerator.device)
    assembly.training.prepare(accelerator)
    _warm(assembly.training, ask.batch(least_of(ask.recipe)).to(accelerator.device), accelerator)
    return assembly


def _warm(training: Training, batch: Batch, accelerator: Accelerator) -> None:
    """Let every learner make an update."""
    go_to(training, 0.5)
    for name, learner in training.learners.items():
        if learner.after > training.step:
            raise RecipeError(f"the learner {name!r} begins after half of the training, too late to plan with.")
    for _ in train(training, [batch] * cycle(training), accelerator):
        pass
