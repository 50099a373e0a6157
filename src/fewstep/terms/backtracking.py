"""Which network stands for the teacher at this point of the training."""

from dataclasses import dataclass

from fewstep.errors import RecipeError
from fewstep.scalars import Progress

__all__ = ["Backtracking", "aim", "aims"]


@dataclass(frozen=True)
class Backtracking:
    """The networks of ``path``, one after another, each for the share ``interval`` of the updates, the last to the end.

    They lead from what makes the student's first samples likely back to the teacher, which stands last: snapshots of a
    copy of it that was being trained on those samples.  A path of one network is that network all the time.
    Source: DisBack, arXiv 2408.15991 (its code, with equal intervals).
    Raises ``RecipeError`` for an empty path, for one that stays where it is, and when the last network has no time.
    """

    path: tuple[str, ...]
    interval: float = 0.1

    def __post_init__(self) -> None:
        if not self.path or self.interval <= 0 or (len(self.path) - 1) * self.interval >= 1:
            raise RecipeError(
                f"a path of {len(self.path)} networks, {list(self.path)}, each of them for {self.interval} of the "
                "training; accepted are one or more, and an interval above 0 that leaves time for the last one, the "
                "teacher. Give a shorter interval."
            )
        if any(one == two for one, two in zip(self.path, self.path[1:], strict=False)):
            raise RecipeError(
                f"the path {list(self.path)} stays where it is; accepted are networks of which every two neighbours "
                "differ. Leave out those that stand twice."
            )

    def at(self, progress: Progress) -> str:
        """Return the network whose time it is."""
        return self.path[min(int(progress.fraction / self.interval), len(self.path) - 1)]


def aim(real: str | Backtracking, progress: Progress) -> str:
    """Return the name of the network that is the teacher now."""
    return real if isinstance(real, str) else real.at(progress)


def aims(real: str | Backtracking) -> tuple[str, ...]:
    """Return the names of all networks that ever are the teacher, each once."""
    return (real,) if isinstance(real, str) else tuple(dict.fromkeys(real.path))
