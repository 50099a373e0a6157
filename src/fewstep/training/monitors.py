"""What makes a run stop: each monitor looks at one sign of illness and says in plain words what to try."""

import math
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, field

from torch import Tensor

from fewstep.errors import UnhealthyTraining
from fewstep.training.loop import Report

__all__ = ["Collapse", "Connected", "Finite", "Monitor", "RunawayCritic", "between", "watch"]


class Monitor(ABC):
    """Raises ``UnhealthyTraining`` when a report shows what it looks for."""

    @abstractmethod
    def __call__(self, report: Report) -> None:
        """Look at one report."""


def watch(monitors: list[Monitor], report: Report) -> None:
    """Show a report to every monitor."""
    for monitor in monitors:
        monitor(report)


@dataclass
class Finite(Monitor):
    """Stops when a learner's gradient is not finite ``patience`` times in a row (such turns change no weight)."""

    patience: int = 3
    _bad: dict[str, int] = field(default_factory=dict)

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
class RunawayCritic(Monitor):
    """Stops when a critic tells real from generated almost always over the last ``turns`` looks."""

    most: float = 0.995
    turns: int = 200
    _seen: dict[str, deque[float]] = field(default_factory=dict)

    def __call__(self, report: Report) -> None:
        """Average the critic's accuracy."""
        accuracy = report.notes.get("critic accuracy")
        if accuracy is None:
            return
        seen = self._seen.setdefault(report.learner, deque(maxlen=self.turns))
        seen.append(accuracy)
        mean = sum(seen) / len(seen)
        if len(seen) == self.turns and mean > self.most:
            raise UnhealthyTraining(
                f"At step {report.step} the critic {report.learner!r} has been right {mean:.1%} of the time for "
                f"{self.turns} turns, so its gradient no longer tells the student anything. Lower the critic's "
                "learning rate or its weight, judge at higher noise levels, or let the student take more turns."
            )


@dataclass(frozen=True)
class Collapse:
    """Compares samples of fixed seeds with reference images: deviation of all values, distance between seeds.

    ``reference`` and the samples are (conditions, seeds, ...).  Sick are samples below ``least`` or above ``most``
    times the reference's deviation, or below ``spread`` times its mean distance between seeds of one condition.
    """

    deviation: float
    distance: float
    least: float = 0.4
    most: float = 2.5
    spread: float = 0.25

    @classmethod
    def against(cls, reference: Tensor) -> "Collapse":
        """Measure the reference."""
        return cls(float(reference.std()), between(reference))

    def look(self, samples: Tensor, step: int, young: bool = False) -> dict[str, float]:
        """Return the two ratios, or raise ``UnhealthyTraining`` with a diagnosis.

        ``young``: a network that has hardly learned yet may be flat; it must only be finite.
        """
        deviation = float(samples.std()) / max(self.deviation, 1e-12)
        spread = between(samples) / max(self.distance, 1e-12)
        if not math.isfinite(deviation):
            raise UnhealthyTraining(
                f"At step {step} the student's samples are not finite. Lower the learning rate and clip the gradient; "
                "the last healthy checkpoint is kept."
            )
        ratios = {"deviation": deviation, "distance between seeds": spread}
        if young:
            return ratios
        if not self.least <= deviation <= self.most:
            word = "flat (nearly one colour)" if deviation < self.least else "exploding"
            raise UnhealthyTraining(
                f"At step {step} the student's samples are {word}: their deviation is {deviation:.2f} times the "
                "reference's. Lower the student's learning rate, let the fake score take more turns per student turn "
                "(every), and check that teacher and student share the data's scale (sigma_data)."
            )
        if spread < self.spread:
            raise UnhealthyTraining(
                f"At step {step} different seeds give nearly the same sample: the distance between seeds is "
                f"{spread:.2f} times the reference's. The student has lost its diversity: lower the guidance scale, "
                "raise the turns of the fake score, add a regression or consistency term, or stop earlier."
            )
        return ratios


def between(samples: Tensor) -> float:
    """Return the root mean squared distance between different seeds of one condition, per value.

    ``samples`` is (conditions, seeds, ...).  Equals sqrt(2) times the unbiased deviation over the seeds.
    """
    flat = samples.double().flatten(2)
    return float((2 * flat.var(1, correction=1).mean()).sqrt())
