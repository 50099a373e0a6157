"""What makes a run stop: each monitor looks at one sign of illness and says in plain words what to try."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from fewstep.errors import UnhealthyTraining
from fewstep.training.loop import Report

__all__ = ["Connected", "ExplodingCritic", "Finite", "Monitor", "RunawayCritic", "watch"]


class Monitor(ABC):
    """Raises ``UnhealthyTraining`` when a report shows what it looks for."""

    @abstractmethod
    def __call__(self, report: Report) -> None:
        """Look at one report."""

    @property
    @abstractmethod
    def calm(self) -> bool:
        """Whether the last reports let one suspect nothing: weights of a moment that is not calm may be ill already."""


def watch(monitors: list[Monitor], report: Report) -> None:
    """Show a report to every monitor."""
    for monitor in monitors:
        monitor(report)


@dataclass
class Finite(Monitor):
    """Stops when a learner's gradient is not finite ``patience`` times in a row (such turns change no weight)."""

    patience: int = 3
    _bad: dict[str, int] = field(default_factory=dict)

    @property
    def calm(self) -> bool:
        """Whether the last gradient of every learner was finite."""
        return not any(self._bad.values())

    def __call__(self, report: Report) -> None:
        """Count turns without a finite gradient."""
        fine = bool(report.norm.isfinite())
        self._bad[report.learner] = 0 if fine else self._bad.get(report.learner, 0) + 1
        if self._bad[report.learner] >= self.patience:
            costs = ", ".join(f"{name} {float(cost):.3g}" for name, cost in report.costs.items())
            raise UnhealthyTraining(
                f"At step {report.step} the gradient of {report.learner!r} was not finite {self.patience} times in a "
                f"row (costs: {costs}). Lower its learning rate, clip the gradient (clip: 1.0), keep the weights in "
                "float32, and look for a division by a noise level of 0 in the times of the recipe."
            )


@dataclass
class Connected(Monitor):
    """Stops when a term has no gradient at all, or a gradient of exactly 0 in ``patience`` measurements in a row."""

    patience: int = 3
    _zero: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def calm(self) -> bool:
        """Always: a term that trains nothing leaves the weights as healthy as they are."""
        return True

    def __call__(self, report: Report) -> None:
        """Look at the gradients of single terms, when they were measured."""
        for term, norm in report.gradients.items():
            key = (report.learner, term)
            self._zero[key] = 0 if norm else self._zero.get(key, 0) + 1
            if norm is None or self._zero[key] >= self.patience:
                raise UnhealthyTraining(
                    f"At step {report.step} the term {term} gives {report.learner!r} no gradient, so it trains "
                    "nothing. Look for a computation without a graph in the term, a frozen network where the learner "
                    "is meant, a weight of 0, or a critic whose answer is constant."
                )


@dataclass
class Lasting(Monitor):
    """Stops when what a learner's last ``turns`` looks noted of its critic is an illness together.

    Notes are those whose names end with ``note``, each by itself: heads that know classes have their own.
    """

    note: ClassVar[str]
    turns: int
    _seen: dict[tuple[str, str], deque[float]] = field(default_factory=dict, init=False)

    @abstractmethod
    def illness(self, seen: Sequence[float]) -> str:
        """Return what is wrong with the critic and what to try, or nothing; the last look comes last."""

    @abstractmethod
    def suspects(self, seen: Sequence[float]) -> bool:
        """Return whether the last of the looks could be the first of an illness."""

    @property
    def calm(self) -> bool:
        """Whether no critic is suspected."""
        return not any(self.suspects([*seen]) for seen in self._seen.values())

    def __call__(self, report: Report) -> None:
        """Remember the notes, and look at all of a name once there are so many."""
        for name in (name for name in report.notes if name.endswith(self.note)):
            seen = self._seen.setdefault((report.learner, name), deque(maxlen=self.turns))
            seen.append(report.notes[name])
            found = self.illness(seen) if len(seen) == self.turns else ""
            if found:
                raise UnhealthyTraining(f"At step {report.step} the critic {report.learner!r} {found}")


@dataclass
class RunawayCritic(Lasting):
    """Stops when a critic tells real from generated almost always over the last ``turns`` looks."""

    note = "critic accuracy"
    turns: int = 200
    most: float = 0.995

    def suspects(self, seen: Sequence[float]) -> bool:
        """Average the last tenth of the looks: being always right for a few turns is what a good critic does."""
        few = max(self.turns // 10, 1)
        return len(seen) >= few and sum(seen[-few:]) / few > self.most

    def illness(self, seen: Sequence[float]) -> str:
        """Average the critic's accuracy."""
        mean = sum(seen) / len(seen)
        if not mean > self.most:
            return ""
        return (
            f"has been right {mean:.1%} of the time for {self.turns} turns, so its gradient no longer tells the "
            "student anything. Lower the critic's learning rate or its weight, judge at higher noise levels, or let "
            "the student take more turns."
        )


@dataclass
class ExplodingCritic(Lasting):
    """Stops when the mean size of a critic's logits is above ``most`` in most of the last ``turns`` looks.

    A logit is the logarithm of a density ratio: beyond 17 softplus has no gradient left in float32 on the side that is
    right, and from 50 on (odds of 10^21) the number is no estimate any more, of any of the losses.
    """

    note = "critic logit"
    turns: int = 20
    most: float = 50.0

    def suspects(self, seen: Sequence[float]) -> bool:
        """Look for one that is too large among the last quarter: those of an illness need not all be."""
        return not all(each <= self.most for each in seen[-max(self.turns // 4, 1) :])

    def illness(self, seen: Sequence[float]) -> str:
        """Take the median of the sizes of the critic's logits."""
        if sum(each <= self.most for each in seen) >= self.turns / 2:
            return ""
        return (
            f"is exploding: its logits are {seen[-1]:.3g} on average, and were above {self.most:g} in most of its "
            f"last {self.turns} turns, where the logarithm of a density ratio is a few units. Lower its learning "
            "rate, clip its gradient (clip: 1.0), give it less weight, or judge at higher noise levels."
        )
