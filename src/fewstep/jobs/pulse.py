"""The pulse of a training: a few samples of the student's own weights, often, so that a collapse is seen at once."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fewstep.errors import UnhealthyTraining
from fewstep.model import Model
from fewstep.sampling import ManyStep
from fewstep.solvers import DDIM
from fewstep.training import Collapse, Training
from fewstep.training.collapse import SIGNS, refuse_infinite

__all__ = ["CONDITIONS", "EVERY", "FIRST_SEED", "Pulse", "beat_size", "conditions_of", "raw", "room", "same_seeds"]

EVERY = 24  # updates of the student: what two beats in a row see is seen within 48
PATIENCE = 2  # beats in a row; one alone may be a hiccup of weights that no average smooths
MARGIN = 1.5  # times the threshold: so far from sick is healthy; see Collapse for what healthy students measure
SAMPLES = 16  # of a beat at least, where that may cost so much; two of each condition at least
COST = 0.9  # network calls of a beat for each item of the batch: about one in a hundred of those of 24 turns
CALLS = 3  # of a teacher, which would need dozens; three already show how its samples spread
CONDITIONS = 16  # that are looked at, at most
FIRST_SEED = 2_000_000  # apart from the seeds that `evaluate` judges


@dataclass
class Pulse:
    """Watches samples of the weights as they are, not of their average, which hides a collapse for hundreds of updates.

    One that still learns may be flat, blurred or without diversity for as long as it takes: a sign of illness counts
    only after the samples were clearly free of it (by ``MARGIN``), and stops the run when it is there in ``PATIENCE``
    beats in a row.  ``conditions`` are those that are sampled (none: all), ``felt`` counts the updates before the last
    beat.
    """

    collapse: Collapse
    labels: Tensor | None = None
    conditions: Sequence[str] = ()
    felt: int = 0
    _free: set[str] = field(default_factory=set)
    _ill: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, reference: Tensor, names: Sequence[str], labels: Tensor | None, items: float) -> "Pulse":
        """Compare with reference items (conditions, seeds, ...), of as many conditions as so many items allow."""
        count = _looked_at(len(names), items)
        chosen = [i * len(names) // count for i in range(count)]
        few = [names[i] for i in chosen]
        return cls(Collapse.against(reference[chosen], few), labels, few)

    @property
    def calm(self) -> bool:
        """Whether the last beat showed no sign of illness."""
        return not self._ill

    def beat(self, model: Model, step: int) -> dict[str, float]:
        """Sample a model in the fewest steps it is made for, as its recipe trains them; see ``feel``."""
        known = conditions_of(model, self.labels)
        chosen = [i for i, name in enumerate(known) if name in self.conditions] or list(range(len(known)))
        samples = same_seeds(model, self.labels, _seeds(len(known)), min(model.sampler.made_for), chosen)
        return self.feel(samples, step, [known[i] for i in chosen])

    def feel(self, samples: Tensor, step: int, names: Sequence[str] = ()) -> dict[str, float]:
        """Return the numbers of samples (conditions, seeds, ...), or raise ``UnhealthyTraining`` with a diagnosis."""
        refuse_infinite(samples, step)
        seen = self.collapse.looks(samples, names)
        near = self.collapse.signs(seen, MARGIN)
        signs = [sign for sign in self.collapse.signs(seen) if sign in self._free]
        self._ill = Counter({sign: self._ill[sign] + 1 for sign in signs})
        self._free |= {sign for sign in SIGNS if sign not in near}
        for sign in signs:
            if self._ill[sign] >= PATIENCE:
                raise UnhealthyTraining(
                    f"At step {step} the training collapses, though it was healthy before ({sign}): "
                    f"{self.collapse.diagnosis(sign, seen)}"
                )
        return seen.numbers()


def _looked_at(known: int, items: float) -> int:
    """Return how many of the known conditions a beat looks at."""
    return min(max(int(items) // 2, 2), known)


def _seeds(known: int) -> int:
    """Return how many seeds it samples of each."""
    return max(SAMPLES // known, 2)


def beat_size(known: int, items: float) -> int:
    """Return how many items a beat samples where so many conditions are known and so many items allowed."""
    return _looked_at(known, items) * _seeds(known)


def raw(model: Model, training: Training) -> Model:
    """Return the model with the student's weights as they are, and a teacher's with few calls."""
    learner, sampler = training.learners["student"], model.sampler
    if isinstance(sampler, ManyStep):
        sampler = replace(sampler, solver=DDIM(), steps=CALLS)
    return replace(model, view=replace(learner.view, net=learner.bare), sampler=sampler)


def conditions_of(model: Model, real: Tensor | None) -> list[str]:
    """Return the names of the conditions that a model is looked at under: classes, or the numbers of real ones."""
    if model.condition and real is not None:
        return [str(i) for i in range(min(len(real), CONDITIONS))]
    return list(model.classes[:CONDITIONS]) or ["all"]


def same_seeds(
    model: Model, real: Tensor | None, seeds: int, steps: int | None = None, chosen: Sequence[int] | None = None
) -> Tensor:
    """Sample the same seeds under each of these conditions, or the chosen ones; (conditions, seeds, ...)."""
    labels, known = None, len(conditions_of(model, real))
    places = torch.tensor(range(known) if chosen is None else chosen)
    if model.condition and real is not None:
        labels = real[places * len(real) // known].repeat_interleave(seeds, 0)
    elif model.classes:
        labels = places.repeat_interleave(seeds)
    samples = model.sample([FIRST_SEED - 1 - i % seeds for i in range(len(places) * seeds)], labels, steps)
    return samples.reshape(len(places), seeds, *samples.shape[1:])


def room(model: Model, batch: int) -> float:
    """Return how many items a beat may sample so that it costs about one in a hundred of the turns between two."""
    return COST * batch / model.calls(min(model.sampler.made_for))
