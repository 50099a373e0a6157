"""Before a training begins: has each critic learned what it is asked, and each guided learner what guidance needs?"""

from collections.abc import Mapping
from typing import Any, TypeVar

from fewstep.errors import RecipeError
from fewstep.recipes.pieces import pieces
from fewstep.terms import Adversarial, Denoise, Discriminate, DistributionMatching, HiddenScales
from fewstep.training import Learner

__all__ = ["refuse_misfits"]

P = TypeVar("P")


def refuse_misfits(learners: Mapping[str, Learner]) -> None:
    """Look at what the terms of learners ask of other learners; what is frozen came as somebody made it.

    Raises ``RecipeError`` for a critic whose heads nobody trains, or trains for another loss; for a density ratio from
    a critic that does not know it, or not at these times; for guidance over a learner without an empty condition.
    """
    for name, learner in learners.items():
        for adversarial in _parts(learner.terms, Adversarial):
            _refuse_critic(f"Adversarial of the learner {name!r}", adversarial, learners)
        for matching in _parts(learner.terms, DistributionMatching):
            _refuse_ratio(f"DistributionMatching of the learner {name!r}", matching, learners)
            for guide in _parts(matching, HiddenScales):
                _refuse_guide(f"HiddenScales of the learner {name!r}", guide, learners)


def _refuse_critic(who: str, term: Adversarial, learners: Mapping[str, Learner]) -> None:
    name, trained = _trained(term.critic, learners)
    if name not in learners:
        return
    alike = [each for each in trained if each.loss.classes == term.loss.classes]
    if not alike:
        wanted = "{loss: classes}" if term.loss.classes else "{}"
        kind = "classes" if term.loss.classes else "those without classes"
        heads = f"heads of its kind ({kind})" if trained else "heads"
        raise RecipeError(
            f"{who} asks the critic {name!r}, whose {heads} nobody trains: they would stay as they were drawn. "
            f"Give the learner {name!r} the term `discriminate: {wanted}`{_others(learners)}."
        )
    if term.loss.asks_ratio and not any(each.loss.ratios for each in alike):
        losses = ", ".join(type(each.loss).__name__ for each in alike)
        raise RecipeError(
            f"{who} lets a divergence fall, for which the critic's logits must be logarithms of a density ratio, but "
            f"those of {name!r}, trained by the loss {losses}, are not. Give its `discriminate` the loss softplus, or "
            "the student that of the critic."
        )


def _refuse_ratio(who: str, term: DistributionMatching, learners: Mapping[str, Learner]) -> None:
    name, trained = _trained(term.ratio.critic, learners)
    if term.divergence.constant or name not in learners:
        return
    what = f"{who} weighs by the density ratio that the critic {name!r} knows ({type(term.divergence).__name__})"
    if not trained:
        raise RecipeError(
            f"{what}, but nobody trains its heads. Give the learner {name!r} the term "
            f"`discriminate: {{times: ...}}` with the times of the matching{_others(learners)}; or take the divergence "
            "reverse_kl, which needs no ratio."
        )
    right = [each for each in trained if each.loss.ratios and not each.loss.classes]
    if not right:
        losses = ", ".join(type(each.loss).__name__ for each in trained)
        raise RecipeError(
            f"{what}, but its `discriminate` has the loss {losses}, whose logits are no density ratio; accepted are "
            "softplus and logistic. Give it one of these, or take the divergence reverse_kl."
        )
    if all(each.times != term.times for each in right):
        raise RecipeError(
            f"{what} at the times {term.times}, but its `discriminate` learns at {right[0].times}; accepted is one law "
            "for both, so that it knows what it is asked. Give `discriminate` the times of the matching."
        )


def _refuse_guide(who: str, guide: HiddenScales, learners: Mapping[str, Learner]) -> None:
    if guide.low == guide.high == 1:
        return  # no guidance
    for name in dict.fromkeys(each.split(".")[0] for each in guide.over):
        denoising = _parts(learners[name].terms, Denoise) if name in learners else []
        if denoising and all(each.drop == 0 for each in denoising):
            raise RecipeError(
                f"{who} guides the learner {name!r}, whose `denoise` never leaves the condition out (drop: 0), so that "
                "nobody trains what guidance leads away from: its answer to the empty condition. Give its `denoise` "
                "`drop: 0.1`, or guide the teacher alone (`over: [teacher]`)."
            )


def _trained(critic: str, learners: Mapping[str, Learner]) -> tuple[str, list[Discriminate]]:
    """Return the learner that a critic (itself, or an average of it) belongs to, and the terms that train its heads."""
    name = critic.split(".")[0]
    return name, _parts(learners[name].terms, Discriminate) if name in learners else []


def _others(learners: Mapping[str, Learner]) -> str:
    """Say which learners could be named instead."""
    able = [name for name, learner in learners.items() if _parts(learner.terms, Discriminate)]
    return f", or name {' or '.join(map(repr, able))}, which has it" if able else ""


def _parts(whole: Any, kind: type[P]) -> list[P]:
    """Return everything of a kind inside."""
    return [part for part in pieces(whole) if isinstance(part, kind)]
