"""A sign of life: where a training is at this moment, for whoever watches it."""

import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fewstep.errors import WeightsError
from fewstep.files import write_whole

__all__ = ["Life", "Live", "read_life"]

FILE = "live.json"
APART = 2.0  # seconds between two signs, at least
SILENCE = 60.0  # seconds after which it is said that none came


@dataclass(frozen=True)
class Life:
    """``step`` of ``steps`` batches are done after ``seconds``; ``rate`` is in batches a second, ``stamp`` the time of
    day; ``ended`` when the process left the loop, whatever the reason."""

    step: int
    steps: int
    seconds: float
    rate: float
    stamp: float
    ended: bool = False

    @property
    def left(self) -> float | None:
        """The seconds that are left at this rate, None before there is one."""
        return (self.steps - self.step) / self.rate if self.rate > 0 else None

    @property
    def alive(self) -> bool:
        """Whether the process is at work, as far as can be seen from outside."""
        return not self.ended and time.time() - self.stamp < SILENCE + 10 / max(self.rate, 1e-3)


@dataclass
class Live:
    """Writes ``live.json`` into the folder of a run; ``first`` is the batch that this process began with.

    As a context it says at the end that it has ended, whatever the reason.
    """

    root: Path
    steps: int
    first: int
    writes: bool = True
    _began: float = field(default_factory=time.perf_counter)
    _signed: float = -math.inf
    _last: tuple[int, float] = (0, 0.0)

    def sign(self, step: int, seconds: float) -> None:
        """Say how far the training is, after so many seconds; most calls write nothing."""
        self._last = (step, seconds)
        if time.perf_counter() - self._signed >= APART:
            self._write(ended=False)

    def __enter__(self) -> "Live":
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Say that it has ended."""
        if self._last[0]:
            self._write(ended=True)

    def _write(self, ended: bool) -> None:
        if self.writes:
            self._signed, (step, seconds) = time.perf_counter(), self._last
            rate = (step - self.first) / max(self._signed - self._began, 1e-9)
            life = Life(step, self.steps, seconds, rate, time.time(), ended)
            write_whole(self.root / FILE, json.dumps(asdict(life)).encode())


def read_life(root: Path) -> Life | None:
    """Return the last sign of life in the folder of a run; None when there is none."""
    path = root / FILE
    try:
        return Life(**json.loads(path.read_text())) if path.is_file() else None
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{path} cannot be read ({error}). Remove it; the run does not need it.") from error
