"""Guidance that is drawn while training: what the student is told of it, and how the teacher follows it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from fewstep.condition import drop, null
from fewstep.errors import RecipeError
from fewstep.guidance import CFG
from fewstep.turn import Turn
from fewstep.types import T

__all__ = ["Guide", "HiddenScales", "Negatives", "Scales", "Unguided"]


class Guide(ABC):
    """A law of guidance; ``tells`` are the arguments by which a network is told of it."""

    tells: ClassVar[tuple[str, ...]] = ()

    def networks(self) -> tuple[str, ...]:
        """Return the names of the networks that it guides, where it names them itself."""
        return ()

    @abstractmethod
    def __call__(self, turn: Turn) -> Turn:
        """Return the turn with guidance drawn: the student is told of it, and teachers are under it."""


@dataclass(frozen=True)
class Unguided(Guide):
    """No guidance but the teacher's own, of which the student is told nothing."""

    def __call__(self, turn: Turn) -> Turn:
        """Return the turn as it is."""
        return turn


@dataclass(frozen=True)
class Scales(Guide):
    """A scale, uniform between ``low`` and ``high``, in the convention ``D_null + w (D - D_null)``: 1 is no guidance.

    For a share ``drop`` of the items student and teacher get the empty condition, where every scale is the same to
    the teacher, so that the student learns both branches and may be mixed by ``cfg`` when it samples.
    Source: LCM, arXiv 2310.04378, section 4.3 (whose own w is one less); the share: SoundCTM, arXiv 2405.18503 (0.1).
    Raises ``RecipeError`` when ``low`` is above ``high``, and for a share outside 0 to 1.
    """

    low: float
    high: float
    drop: float = 0.0

    tells = ("scale",)

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise RecipeError(f"guidance scales from {self.low} to {self.high}; accepted is low <= high.")
        if not 0 <= self.drop <= 1:
            raise RecipeError(f"the share of dropped conditions is {self.drop}; accepted is 0 to 1.")

    def __call__(self, turn: Turn) -> Turn:
        """Draw one scale per item, and which items lose their condition."""
        scale = self.draw(turn.draws.uniform(len(turn.batch.x0)))
        if self.drop > 0:
            lost = turn.draws.uniform(len(turn.batch.x0)) < self.drop
            turn = replace(turn, batch=replace(turn.batch, c=drop(turn.c, lost)))
        return turn.telling({"scale": scale}, CFG(scale))

    def draw(self, u: T) -> T:
        """Map uniform numbers, one per item, to scales."""
        return self.low + u * (self.high - self.low)


@dataclass(frozen=True)
class HiddenScales(Guide):
    """A scale per item, uniform between ``low`` and ``high``, that the networks named in ``over`` share.

    Nobody is told of it.  ``low = high`` is a constant scale; 1 is no guidance.  Over the teacher and the fake score
    alike the teacher stays the fixed point of distribution matching for every scale, over the teacher alone it moves.
    The empty condition of a fake score has a meaning only if it learns it: ``drop`` of ``Denoise``.
    Source: SNOOPI, arXiv 2412.02687 (PG-SB); constant: SwiftBrush, arXiv 2312.05239.  *Ours*: one draw for each item,
    the same for all networks; the paper does not say.
    Raises ``RecipeError`` when ``low`` is above ``high``.
    """

    low: float
    high: float
    over: tuple[str, ...] = ("teacher", "fake_score")

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise RecipeError(f"guidance scales from {self.low} to {self.high}; accepted is low <= high.")

    def networks(self) -> tuple[str, ...]:
        """Return those in ``over``."""
        return self.over

    def __call__(self, turn: Turn) -> Turn:
        """Put the named networks under one scale per item."""
        rule = CFG(self.low + turn.draws.uniform(len(turn.batch.x0)) * (self.high - self.low))
        return replace(turn, views={**turn.views, **{name: rule(turn.denoiser(name)) for name in self.over}})


@dataclass(frozen=True)
class Negatives(Guide):
    """A negative condition n at a fixed scale, ``D_n + w (D_c - D_n)``; the student is told n and has w inside.

    For a ``share`` of the items n is the condition of another item of the batch, for the rest the empty one, which is
    what a student is not told of when nobody gives it a negative condition.
    Source: SpeedUpNet, arXiv 2312.08887 (random pairs; the share is ours).
    Raises ``RecipeError`` for a share outside 0 to 1, and for data without conditions.
    """

    scale: float
    share: float = 0.5

    tells = ("negative",)

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise RecipeError(f"the share of negative conditions is {self.share}; accepted is 0 to 1.")

    def __call__(self, turn: Turn) -> Turn:
        """Draw one negative condition per item."""
        empty, items = null(turn.c), len(turn.batch.x0)
        if turn.c is None or empty is None:
            raise RecipeError("negative conditions are drawn, but these data have no conditions; leave 'guide' out.")
        given = turn.draws.uniform(items).to(turn.c.device) < self.share
        steps = 1 + (turn.draws.uniform(items) * (items - 1)).long()  # around the batch, never back to the same item
        others = turn.c[(torch.arange(items, device=turn.c.device) + steps) % items]
        negative = torch.where(given.reshape(-1, *(1 for _ in others.shape[1:])), others, empty)
        return turn.telling({"negative": negative}, CFG(self.scale, negative))
