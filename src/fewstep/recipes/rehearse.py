"""Before a training begins: does everything that its terms will ask for exist, and does it fit together?"""

from typing import Any, Protocol, runtime_checkable

import torch

from fewstep.batch import Batch
from fewstep.draws import Draws
from fewstep.endpoints import Endpoint
from fewstep.errors import FewstepError, RecipeError
from fewstep.flowmap import check_boundary
from fewstep.recipes.fit_together import refuse_misfits
from fewstep.recipes.pieces import pieces
from fewstep.scalars import Progress
from fewstep.terms import Consistency, Term
from fewstep.training import Learner, Training, Turn

__all__ = ["rehearse"]

ITEMS = 4


@runtime_checkable
class Staged(Protocol):
    """A curriculum that goes through stages."""

    @property
    def stages(self) -> int:
        """How many there are."""


def rehearse(training: Training, example: Batch) -> None:
    """Compute every term once on a few items, as at the beginning and as at the end of the training, without learning.

    Raises ``RecipeError`` when a term asks for what is not there or does not fit, when a student lacks the boundary
    or an input that its objective relies on, when a curriculum has more stages than there are updates, and when a
    critic or a guided learner has not learned what it is asked.
    """
    few, views = example.cut(0, min(ITEMS, len(example.x0))), _views(training)
    with torch.random.fork_rng([]), torch.no_grad():
        for name, learner in training.learners.items():
            learner.bare.eval()
            for title, term in learner.terms.items():
                _refuse_unfit(name, learner, term, few)
                for progress in (Progress(0, learner.total), Progress(learner.total, learner.total)):
                    rollout = training.rollout.at(progress)
                    turn = Turn(name, views, few, Draws(0, few.x0.device), rollout, progress)
                    _try(f"{title} of the learner {name!r}", term, turn)
    refuse_misfits(training.learners)


def _refuse_unfit(name: str, learner: Learner, term: Term, few: Batch) -> None:
    if isinstance(term, Consistency):
        check_boundary(learner.view, few.x0, few.c, float(term.pairs.lowest))
        for told in (each for each in term.guide.tells if not learner.view.takes(each)):
            raise RecipeError(
                f"Consistency tells the learner {name!r} of {told!r}, but its network has no such argument. Give the "
                "learner 'inputs: [scale]' for a guidance scale, and an 'adapter' for a negative condition; or leave "
                "'guide' out."
            )
    inside = list(pieces(term))
    if any(isinstance(piece, Endpoint) and piece.reach == "any" for piece in inside) and not learner.view.second_time:
        raise RecipeError(
            f"{type(term).__name__} of the learner {name!r} lets jumps end at any time, but its network is not told "
            "where: one estimate cannot serve every end. Give the learner 'second_time: true' (any network can), or "
            "the endpoint 'origin' or 'segments'."
        )
    for piece in inside:
        if isinstance(piece, Staged) and piece.stages > learner.total:
            raise RecipeError(
                f"{type(piece).__name__} in {type(term).__name__} has {piece.stages} stages, but the learner {name!r} "
                f"makes {learner.total} updates, so that the curriculum would outrun the training. Raise 'steps', or "
                "give it fewer stages."
            )


def _try(title: str, term: Term, turn: Turn) -> None:
    try:
        cost = term(turn)
    except FewstepError:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise RecipeError(
            f"{title} cannot be computed on items of {list(turn.batch.x0.shape[1:])} under "
            f"conditions of {None if turn.c is None else list(turn.c.shape[1:])}: {error}. Compare the shapes that the "
            "networks of the recipe take with those of the data."
        ) from error
    if cost.shape != (len(turn.batch.x0),):
        raise RecipeError(f"{title} gives costs of {list(cost.shape)}, not one for each item.")


def _views(training: Training) -> dict[str, Any]:
    views: dict[str, Any] = dict(training.frozen)
    for name, learner in training.learners.items():
        views |= learner.views(name, mine=False)
    return views
