"""What a collapse looks like: samples of fixed seeds beside reference items, in a few numbers and per condition."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fewstep.errors import UnhealthyTraining

__all__ = ["SIGNS", "SINGLE", "Collapse", "Looks", "between", "refuse_infinite"]

TONES = 64  # quantiles that the values of a channel are described by
MOST = 65_536  # values of a channel that are sorted for them; more change no digit that is looked at
COARSE = ("flat", "exploding", "all the same", "seeds alike")  # signs that stop a student that was never healthy
CHANCE = 2.0  # standard errors: latents of images on light and dark grounds differ in their means by nearly a deviation
SIGNS = (*COARSE, "seeds of one condition alike", "colours drift")  # the worst first
SINGLE = "distance between seeds of "  # what the name of a number of one condition begins with; its own name follows

COLOUR = (
    "Lower the student's learning rate and the guidance scale, and check that teacher and student share the data's "
    "scale (sigma_data) and their prediction."
)
DIVERSITY = (
    "The student has lost its diversity: lower the guidance scale, raise the turns of the fake score, add a regression "
    "or consistency term, or stop earlier."
)
SIZE = (
    "Lower the student's learning rate, let the fake score take more turns per student turn (every), and check that "
    "teacher and student share the data's scale (sigma_data)."
)


@dataclass(frozen=True)
class Looks:
    """How samples look beside the reference: ratios, which are 1 for equal ones, and a drift, which is 0.

    ``deviation`` is that of all values, ``seeds`` the distance between seeds of one condition, by its name, ``spread``
    its root mean square over the conditions, ``items`` the distance between any two samples.  ``drift`` is the mean
    distance between the sorted values of a channel and the reference's, in deviations: 1 when its mean has moved by
    one, less what chance moves the mean of so few items; ``channel`` drifts most, to the mean ``mean`` from ``was``.
    """

    deviation: float
    spread: float
    seeds: Mapping[str, float]
    items: float
    drift: float
    channel: int
    mean: float
    was: float

    @property
    def poorest(self) -> str:
        """The condition that lost most of its diversity."""
        return min(self.seeds, key=lambda name: self.seeds[name])

    def numbers(self) -> dict[str, float]:
        """Return what is written down, but for the single conditions."""
        return {
            "deviation": self.deviation,
            "distance between seeds": self.spread,
            "least distance between seeds": self.seeds[self.poorest],
            "distance between items": self.items,
            "colour drift": self.drift,
        }


@dataclass(frozen=True, eq=False)
class Collapse:
    """Compares samples of fixed seeds with reference items, both (conditions, seeds, ...); build it with ``against``.

    Sick are samples whose deviation is below ``least`` or above ``most`` times the reference's, whose seeds of one
    condition are closer than ``spread`` times the reference's (``single`` times in one condition alone), whose items
    are all closer than ``same`` times, and whose colours drift by more than ``drift`` deviations.  The raw weights of
    about 40 healthy runs on digits, seen in one to eight calls in the second half of their training, had deviations
    of 0.83 to 1.32, spreads above 0.57, single conditions above 0.22, items above 0.68 and drifts below
    0.35.  Before, students of one call are blurred: spreads from 0.2 and single conditions from 0.14 on.
    """

    deviation: float
    distances: Mapping[str, float]
    items: float
    tones: Tensor
    wander: Tensor
    least: float = 0.4
    most: float = 2.5
    spread: float = 0.25
    single: float = 0.05
    same: float = 0.1
    drift: float = 0.5

    @classmethod
    def against(cls, reference: Tensor, names: Sequence[str] = ()) -> "Collapse":
        """Measure the reference; ``names`` are those of its conditions, by default their numbers."""
        distances = dict(zip(_named(reference, names), _within(reference).tolist(), strict=True))
        return cls(float(reference.std()), distances, _apart(reference), _tones(reference), _wander(reference))

    def looks(self, samples: Tensor, names: Sequence[str] = ()) -> Looks:
        """Compare samples; a condition that the reference lacks is compared with all of them."""
        within, named = _within(samples), _named(samples, names)
        every = _root(torch.tensor(list(self.distances.values()), dtype=torch.float64))
        known = torch.tensor([self.distances.get(name, every) for name in named], dtype=torch.float64)
        tones = _tones(samples)
        chance = CHANCE * self.wander / len(samples.flatten(0, 1)) ** 0.5
        drifts = ((tones - self.tones).abs().mean(1) - chance).clamp_min(0) / _safe(self.deviation)
        worst = int(drifts.argmax())
        return Looks(
            deviation=float(samples.std()) / _safe(self.deviation),
            spread=_root(within) / _safe(_root(known)),
            seeds=dict(zip(named, (within / known.clamp_min(1e-12)).tolist(), strict=True)),
            items=_apart(samples) / _safe(self.items),
            drift=float(drifts[worst]),
            channel=worst,
            mean=float(tones[worst].mean()),
            was=float(self.tones[worst].mean()),
        )

    def signs(self, seen: Looks, margin: float = 1.0) -> list[str]:
        """Return the names of the signs of illness, with a ``margin`` above 1 those that are near as well."""
        found = {
            "flat": seen.deviation < margin * self.least,
            "exploding": margin * seen.deviation > self.most,
            "all the same": seen.items < margin * self.same,
            "seeds alike": seen.spread < margin * self.spread,
            "seeds of one condition alike": seen.seeds[seen.poorest] < margin * self.single,
            "colours drift": margin * seen.drift > self.drift,
        }
        return [name for name, there in found.items() if there]

    def diagnosis(self, sign: str, seen: Looks) -> str:
        """Say in words what a sign means and what may help."""
        poorest = f"{seen.seeds[seen.poorest]:.2f} times the reference's in condition {seen.poorest!r}"
        beside = f"their deviation is {seen.deviation:.2f} times the reference's"
        equal = ", and all of them the same" if seen.items < self.same else ""
        words = {
            "flat": f"the student's samples are flat (nearly one colour){equal}: {beside}. {SIZE}",
            "exploding": f"the student's samples are exploding: {beside}. {SIZE}",
            "all the same": "all samples are nearly the same, whatever seed and condition: the distance between them "
            f"is {seen.items:.2f} times the reference's. {DIVERSITY}",
            "seeds alike": "different seeds give nearly the same sample: the distance between seeds is "
            f"{seen.spread:.2f} times the reference's, and most is lost with {poorest}. {DIVERSITY}",
            "seeds of one condition alike": "different seeds of one condition give nearly the same sample: the "
            f"distance between seeds is {poorest}, {seen.spread:.2f} times over all conditions. {DIVERSITY}",
            "colours drift": f"the colours of the student's samples have drifted by {seen.drift:.2f} deviations: "
            f"channel {seen.channel} has the mean {seen.mean:.2f}, where the reference has {seen.was:.2f} (where the "
            f"means are near, its values are pushed to the extremes). {COLOUR}",
        }
        return words[sign]

    def look(self, samples: Tensor, step: int, young: bool = False, names: Sequence[str] = ()) -> dict[str, float]:
        """Return the numbers, those of each condition too, or raise ``UnhealthyTraining`` with a diagnosis.

        ``young``: a network that has hardly learned yet may look as it likes; it must only be finite.
        """
        refuse_infinite(samples, step)
        seen = self.looks(samples, names)
        for sign in self.signs(seen):
            if sign in COARSE and not young:
                raise UnhealthyTraining(f"At step {step} {self.diagnosis(sign, seen)}")
        return seen.numbers() | {f"{SINGLE}{name}": ratio for name, ratio in seen.seeds.items()}


def refuse_infinite(samples: Tensor, step: int) -> None:
    """Raise ``UnhealthyTraining`` for samples that are not finite."""
    if not samples.isfinite().all():
        raise UnhealthyTraining(
            f"At step {step} the student's samples are not finite. Lower the learning rate and clip the gradient; "
            "the last healthy checkpoint is kept."
        )


def between(samples: Tensor) -> float:
    """Return the root mean squared distance between different seeds of one condition, per value.

    ``samples`` is (conditions, seeds, ...).  Equals sqrt(2) times the unbiased deviation over the seeds.
    """
    return _root(_within(samples))


def _named(samples: Tensor, names: Sequence[str]) -> list[str]:
    """Return a name for each condition."""
    return [names[i] if i < len(names) else str(i) for i in range(len(samples))]


def _within(samples: Tensor) -> Tensor:
    """Return the distance between seeds of each condition, (conditions,)."""
    return (2 * samples.double().flatten(2).var(1, correction=1).mean(1)).sqrt()


def _apart(samples: Tensor) -> float:
    """Return the distance between any two samples."""
    return between(samples.flatten(0, 1)[None])


def _wander(items: Tensor) -> Tensor:
    """Return how much the mean of each channel differs from item to item, twice in its square: so far do the means of
    equally many samples and reference items differ."""
    each = items.double().flatten(0, 1)
    means = each.flatten(2).mean(2) if each.ndim > 2 else each.mean(1, keepdim=True)
    return means.std(0) * 2**0.5 if len(means) > 1 else torch.zeros_like(means[0])


def _tones(samples: Tensor) -> Tensor:
    """Return the quantiles of the values of each channel, (channels, TONES); items of one axis are one channel."""
    items = samples.double().flatten(0, 1)
    channels = items.transpose(0, 1).flatten(1) if items.ndim > 2 else items.flatten()[None]
    channels = channels[:, :: -(-channels.shape[1] // MOST)]
    levels = (torch.arange(TONES, dtype=torch.float64) + 0.5) / TONES
    return torch.quantile(channels, levels, dim=1).T


def _root(distances: Tensor) -> float:
    """Return the root mean square."""
    return float(distances.square().mean().sqrt())


def _safe(value: float) -> float:
    return max(value, 1e-12)
