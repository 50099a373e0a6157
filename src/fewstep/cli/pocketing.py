"""``fewstep train --data shapes --family sd``: a pocket pipeline, with everything that was computed said first."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from fewstep.cli.training import Order
from fewstep.cli.words import cache_folder, say, typed
from fewstep.data import Shapes, open_data
from fewstep.errors import DataError, MissingExtra, RecipeError
from fewstep.jobs import Options
from fewstep.jobs.listing import describe
from fewstep.jobs.origin import Origin, keep_origin

if TYPE_CHECKING:
    from fewstep.jobs.pocket import Plan

__all__ = ["train_family"]

USUAL = "edm"  # the recipe of `fewstep train` when nobody names one


def train_family(order: Order, family: str, data: str, size: int | None, channels: int | None) -> None:
    """Train a pocket pipeline of a family."""
    try:
        from fewstep.jobs.pocket import Plan, is_finished, train_pocket
    except ImportError as error:
        raise MissingExtra(
            f"--family {family} makes a diffusers pipeline, which needs diffusers ({error}): "
            "pip install 'fewstep[diffusers]'"
        ) from error
    if order.recipe != USUAL:
        raise RecipeError(
            f"--family {family} was given with --recipe {order.recipe}; the pipelines of families have a recipe of "
            "their own. Leave one of the two out; numbers of the family's recipe are changed by --set."
        )
    shapes = open_data(data, size, channels)
    if not isinstance(shapes, Shapes):
        raise DataError(
            f"--family {family} was given with --data {data}, but pocket pipelines learn from captioned shapes, whose "
            "captions they learn to read. Give --data shapes, or leave --family out."
        )
    options = Options(
        order.out, order.seed, not order.quiet, order.settings, cache_folder(), tensorboard=order.tensorboard
    )
    plan, finished = Plan.of(family, shapes, options), is_finished(order.out)
    say(_planned(plan, shapes, order))
    keep_origin(order.out / "training" / "run", Origin(typed(), data))
    facts = train_pocket(plan, shapes, options)
    typer.echo("")
    say(_result(order, facts, finished))


def _planned(plan: "Plan", data: Shapes, order: Order) -> dict[str, str]:
    """Everything that was computed from the options, one line per topic."""
    parts = ", ".join(f"{name} {count / 1e6:.2f} M" for name, count in plan.parts().items())
    words = describe(plan.recipe())
    return {
        "family": f"{plan.family}: {plan.pipeline}",
        "parts": parts,
        "autoencoder": f"{plan.effort.code:,} updates",
        "text encoders": f"{plan.effort.read:,} updates",
        "backbone": words["training"],
        **{topic: text for topic, text in words.items() if topic.startswith(("learner", "made for"))},
        "data": f"{data.name}: {len(data):,} items of {'x'.join(map(str, data.shape))} with captions",
        "settings": ", ".join(order.settings) or "none besides the recipe's",
        "seed": str(order.seed),
        "folder": str(order.out),
    }


def _result(order: Order, facts: Mapping[str, Any], finished: bool) -> dict[str, str]:
    seconds = [f"{name.removesuffix(' seconds')} {value:g} s" for name, value in facts.items() if "seconds" in name]
    right = [f"{share:.0%} of captions with {name}" for name, share in facts["right"].items()]
    data = f"--data {facts['data']['name']} --size {facts['data']['size']}"
    begun = "this pipeline was finished already, nothing is left to do" if finished else "done"
    return {
        "state": f"{begun}: {', '.join(seconds)}",
        "fully right": f"{', '.join(right)}, at {facts['calls']} calls",
        "pipeline": str(order.out),
        "next": f"fewstep distill {order.out} {data} --out {order.out}-student",
    }
