"""What to change where a distillation does not fit: each change as it is typed, with the memory that it leaves."""

import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from fewstep.errors import FewstepError
from fewstep.jobs.ask import Ask
from fewstep.jobs.memory import LOOKS, PAIRS, UPDATES, Memory, together
from fewstep.jobs.plan import Plan, measured
from fewstep.jobs.pulse import conditions_of
from fewstep.recipes import Recipe, spell

__all__ = ["Change", "changes"]

LEAST = 1e6  # bytes; what saves less is not worth a word
RANK = 8  # of an adapter, as peft
FEWEST = 32  # samples to judge weights by


@dataclass(frozen=True)
class Change:
    """Settings of the recipe, what comes with them, and the memory that is taken then, by what was found before."""

    settings: Sequence[str]
    words: str
    memory: Memory

    @property
    def typed(self) -> str:
        """The settings as options of a command."""
        return " ".join(f"--set {shlex.quote(setting)}" for setting in self.settings)


Option = tuple[list[str], str]  # settings, and what comes with them


def changes(ask: Ask, found: Plan, read: Callable[[Sequence[str]], Recipe]) -> list[Change]:
    """Return what would lower the peak, by the most first; ``read`` returns the recipe with further settings.

    Of numbers that can be halved again and again, the first one that fits is meant, or half where none does.
    """
    made = [_first(ask, found, read, options) for options in (*_numbers(ask, found.recipe), *_networks(found.recipe))]
    worth = [each for each in made if each is not None and found.memory.peak - each.memory.peak >= LEAST]
    return sorted(worth, key=lambda each: each.memory.peak)


def _first(ask: Ask, found: Plan, read: Callable[[Sequence[str]], Recipe], options: Sequence[Option]) -> Change | None:
    """Return the first change that fits, else the first that recipe and networks allow."""
    made = []
    for settings, words in options:
        try:
            made.append(Change(settings, words, _memory(ask, found, read(settings))))
        except FewstepError:  # no way for this recipe
            continue
    return next((each for each in made if each.memory.fits), made[0] if made else None)


def _numbers(ask: Ask, recipe: Recipe) -> Iterator[list[Option]]:
    """Yield numbers that can be made smaller, each as what to set."""
    learners, parts = recipe.learners, _halves(recipe.batch)
    yield [
        ([f"learners.{name}.accumulate={by * spec.accumulate}" for name, spec in learners.items()],
         f"the same updates in 1/{by} of the size at a time, a little slower")
        for by in parts
    ]  # fmt: skip
    yield [([f"batch={recipe.batch // by}"], f"noisier updates, in 1/{by} of the time") for by in parts]
    count = together(recipe, _known(ask))
    lot = max(count[LOOKS], count[PAIRS])
    yield [([f"at_once={lot // by}"], "the same samples, fewer at a time, a little slower") for by in _halves(lot)]
    fewer = [recipe.judged // by for by in _halves(recipe.judged)]
    yield [([f"judged={count}"], "a less certain choice of the best weights") for count in fewer if count >= FEWEST]


def _halves(count: int) -> list[int]:
    """Return the powers of two, from 2 on, that are at most so large."""
    return [2**i for i in range(1, count.bit_length())]


def _networks(recipe: Recipe) -> Iterator[list[Option]]:
    """Yield what can be held in another way."""
    for name, spec in recipe.learners.items():
        kept = {each: rule for each, rule in spec.averages.items() if name == "student" and each == recipe.keep}
        if spare := [each for each in spec.averages if each not in kept]:
            told = {each: next(iter(spell(rule).values())) for each, rule in kept.items()}
            settings = [f"learners.{name}.averages={json.dumps(told)}"]
            yield [(settings, f"without the average {', '.join(spare)}, which nobody looks at")]
    whole = [name for name, spec in recipe.learners.items() if spec.lora is None and spec.from_]
    for names in [[name] for name in whole] + ([whole] if len(whole) > 1 else []):
        settings = [f"learners.{name}.lora.rank={RANK}" for name in names]
        yield [(settings, "an adapter on the teacher's own weights, which learns less")]
    if recipe.base is None and any(spec.lora for spec in recipe.learners.values()):
        yield [(["base=bfloat16"], "the shared weights in half the bits")]


def _memory(ask: Ask, found: Plan, recipe: Recipe) -> Memory:
    """Return the memory by another recipe: from what was measured where the networks stay, else measured anew."""
    memory, count = found.memory, together(recipe, _known(ask))
    if _networks_of(recipe) != _networks_of(found.recipe):
        return replace(measured(replace(ask, recipe=recipe)), base=memory.base)
    beside = {name: rise.at(count[name]) for name, rise in memory.beside.items()}
    cut = min(recipe.learners[name].accumulate // spec.accumulate for name, spec in found.recipe.learners.items())
    if cut > 1:
        updates = beside[UPDATES].at(recipe.batch // cut)
        beside[UPDATES] = replace(updates, fixed=updates.fixed + _waiting(found))
    before = None if memory.before is None else memory.before.at(count[PAIRS])
    return replace(memory, beside=beside, before=before)


def _waiting(found: Plan) -> int:
    """Return the gradients that one piece of a batch leaves to the next, where the batch was one piece before."""
    learners = found.recipe.learners
    whole = {name for name, spec in learners.items() if spec.accumulate == 1}
    return max((each.gradients for each in found.memory.held if each.name in whole), default=0)


def _networks_of(recipe: Recipe) -> object:
    """Return what decides on the networks that are held."""
    return recipe.base, {name: (spec.lora, spec.averages) for name, spec in recipe.learners.items()}


def _known(ask: Ask) -> int:
    """Return how many conditions are looked at."""
    return len(conditions_of(ask.teacher, ask.example.c))
