"""What a recipe may say."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

from fewstep.errors import RecipeError
from fewstep.guidance import CFG, EditCFG, Guidance
from fewstep.labels import Label
from fewstep.networks import Bits, Heads, Lora
from fewstep.predict import Prediction
from fewstep.process import Process
from fewstep.sampling import Sampler
from fewstep.solvers import Heun, Solver
from fewstep.terms import HiddenScales, Objective, Scales
from fewstep.times import Schedule
from fewstep.training import Ema, Optimiser, Rollout

__all__ = ["FrozenSpec", "LearnerSpec", "PairsSpec", "Recipe"]


@dataclass(frozen=True)
class LearnerSpec:
    """A learner: its network (``from`` a trained one, or ``network`` by name), objective, optimiser and pace.

    ``from`` is "teacher", or "origin": the model that was given first, where ``begins`` put another one in the
    teacher's place.  With ``from``, ``network`` may change settings of the teacher's.  ``heads`` are those of a critic,
    or the names of the parts of the network that they read; of such a one, weights that ``only`` leaves out are the
    teacher's very own and are there once (``only: [^heads]``: the teacher's features, frozen).  ``after`` is the first
    batch of its turns; below 1 it is the share of all batches.  ``inputs`` are what the network is told beyond time and
    condition (``scale``: a drawn guidance scale); ``only`` are regular expressions for the names of the parameters that
    learn, all of them without.  ``adapter`` names the parts of the network that get a cross-attention adapter, which
    takes a negative condition.  ``time_share`` is the share of every time that the network is told, by default the
    teacher's, or 1.  ``graft`` is a regular expression for the names of weights that come from the origin.  ``lora``
    makes of the learner a low-rank adapter on the teacher, whose weights are then there once for all that share them;
    what only the learner has (heads, a second time, inputs) learns as it is.
    """

    objective: Objective
    optimiser: Optimiser
    from_: str | None = None
    network: Mapping[str, Any] | None = None
    prediction: Prediction | None = None
    second_time: bool = False
    time_share: float | None = None
    heads: Heads | None = None
    every: int = 1
    after: float = 0.0
    accumulate: int = 1
    clip: float | None = None
    averages: Mapping[str, Ema] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    adapter: tuple[str, ...] = ()
    graft: str | None = None
    lora: Lora | None = None

    def updates(self, steps: int) -> int:
        """Return how many turns it has in so many batches."""
        after = int(self.after * steps if self.after < 1 else self.after)
        return max(ceil((steps - after) / self.every), 0)


@dataclass(frozen=True)
class FrozenSpec:
    """A frozen network: the teacher under guidance rules, the first one innermost.

    ``network`` changes settings of the teacher's, for example to leave out a part.  ``from`` is "teacher", or "origin":
    the model that was given first, where ``begins`` put another one in the teacher's place.
    """

    guidance: tuple[Guidance, ...] = ()
    network: Mapping[str, Any] | None = None
    from_: str | None = None


@dataclass(frozen=True)
class PairsSpec:
    """Pairs of noise and teacher sample that are made before the training: ``count`` of them, ``shard`` a file.

    ``path``: whether the states between are kept too, one at every time of the schedule.  ``seed`` is that of their
    noise; runs with other seeds use the same pairs.  ``from`` says who makes them, "teacher" or "origin".
    Raises ``RecipeError`` for a path along which the solver cannot stop.
    """

    schedule: Schedule
    count: int = 20_000
    solver: Solver = field(default_factory=Heun)
    steps: int = 18
    shard: int = 2_500
    guidance: tuple[Guidance, ...] = ()
    path: bool = False
    seed: int = 0
    from_: str = "teacher"

    def __post_init__(self) -> None:
        if self.path and not self.solver.stepwise:
            raise RecipeError(
                f"a path was asked for with the solver {self.solver}, whose steps remember the ones before, draw noise "
                "or are unknown; accepted are ddim, euler and heun, whose steps can be taken one by one. Choose one of "
                "them, or keep no path."
            )


@dataclass(frozen=True)
class Recipe:
    """A paper as data.  ``steps`` batches of ``batch`` items (per process); the student is the learner ``student``.

    ``process`` and ``sigma_data`` are the teacher's unless given; without a teacher, ``sigma_data`` is measured.
    ``looks`` times the student is looked at, scored on ``judged`` samples, and saved; the best weights are the result.
    At most ``at_once`` samples are drawn together meanwhile, and pairs made together before: fewer take less memory,
    and are the same.
    ``keep`` names the average of the student that is sampled, judged and saved ("" = the weights themselves).
    ``family`` is the heading it is listed under.
    ``begins`` names the recipe whose result is this one's teacher; it is run first, on the teacher that is given if it
    needs one.
    ``base`` keeps the weights of the frozen teacher, and so of the adapters on it, in fewer bits: "bfloat16" or "int8".
    ``shares`` are those of some classes, by label, in every batch; the others keep their proportions in the rest.
    ``unjudged`` are labels that the looks leave out: classes that the student is to forget.  A label is a number from 0
    on, or the name that the class has in the data (in quotes where that is a number; before a share it is no name).
    ``data`` is false for recipes that never look at an item of the data, only at their conditions.
    ``tuned_on`` names the data sets that the numbers were made for: those that ``fewstep bench`` runs it on.
    """

    title: str
    source: str
    purpose: str
    learners: Mapping[str, LearnerSpec]
    sampler: Sampler
    steps: int
    batch: int = 128
    keep: str = ""
    process: Process | None = None
    sigma_data: float | None = None
    rollout: Rollout | None = None
    frozen: Mapping[str, FrozenSpec] = field(default_factory=dict)
    pairs: PairsSpec | None = None
    family: str = "your own"
    begins: str = ""
    data: bool = True
    tuned_on: tuple[str, ...] = ("digits",)
    looks: int = 20
    judged: int = 1024
    at_once: int = 512
    base: Bits | None = None
    shares: Mapping[Label, float] = field(default_factory=dict)
    unjudged: tuple[Label, ...] = ()

    @property
    def named_classes(self) -> tuple[Label, ...]:
        """The labels that there must be."""
        return (*self.shares, *self.unjudged)

    def with_classes(self, number: Callable[[Label], int]) -> "Recipe":
        """Return the same recipe with these classes by their numbers; raise ``RecipeError`` for one with two shares."""
        shares: dict[Label, float] = {number(label): share for label, share in self.shares.items()}
        if len(shares) < len(self.shares):
            raise RecipeError(
                f"the shares {dict(self.shares)} name a class twice, once by its name and once by its number; accepted "
                "is one share for each class. Leave one of them out."
            )
        return replace(self, shares=shares, unjudged=tuple(map(number, self.unjudged)))

    @property
    def networks(self) -> set[str]:
        """The names that terms may ask for: frozen networks, learners, and the averages of these."""
        averages = {f"{name}.{average}" for name, spec in self.learners.items() for average in spec.averages}
        return {*self.frozen, *self.learners, *averages}

    @property
    def guidance_range(self) -> tuple[float, float] | None:
        """The guidance scales that the student learns under: those its terms draw, or the one that makes its examples.

        None where it learns without guidance.
        """
        guides = (getattr(term, "guide", None) for _, term in self.learners["student"].objective.items())
        drawn = [(guide.low, guide.high) for guide in guides if isinstance(guide, Scales | HiddenScales)]
        rules = [*(self.frozen["teacher"].guidance if "teacher" in self.frozen else ())]
        rules += [] if self.pairs is None else self.pairs.guidance
        fixed = [
            float(rule.scale)
            for rule in rules
            if isinstance(rule, CFG | EditCFG) and isinstance(rule.scale, int | float)
        ]
        return next(iter(drawn or [(scale, scale) for scale in fixed]), None)

    @property
    def needs_teacher(self) -> bool:
        """Whether there must be a teacher: one that is given, or the result of the recipe that it begins with."""
        return bool(self.frozen or self.pairs or any(spec.from_ for spec in self.learners.values()))

    @property
    def needs_origin(self) -> bool:
        """Whether it takes anything from the model that was given first, beside its teacher."""
        named = [spec.from_ for spec in self.frozen.values()] + [spec.from_ for spec in self.learners.values()]
        named += [] if self.pairs is None else [self.pairs.from_]
        return "origin" in named or any(spec.graft is not None for spec in self.learners.values())
