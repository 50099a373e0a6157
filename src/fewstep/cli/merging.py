"""``fewstep merge``: a model between two others."""

from pathlib import Path

from fewstep.cli.words import say, typed
from fewstep.errors import WeightsError
from fewstep.jobs.merge import merge
from fewstep.jobs.origin import Origin, keep_origin, origin_of
from fewstep.jobs.record import holds_run
from fewstep.store import load_model, save_model

__all__ = ["merge_models"]


def merge_models(first: Path, second: Path, weight: float, out: Path) -> None:
    """Write the model with the weights between those of two; it is sampled, judged and compared like any other."""
    if holds_run(out):
        raise WeightsError(f"{out} holds a model or a run already. Give another folder with --out, or remove it.")
    model = merge(load_model(first), load_model(second), weight)
    if (origin := origin_of(first) or origin_of(second)) is not None:
        keep_origin(out, Origin(typed(), origin.data))
    save_model(model, out)
    say(
        {
            "made of": f"{1 - weight:g} x {first} + {weight:g} x {second}",
            "model": str(out),
            "next": f"fewstep compare {first} {second} {out}",
        }
    )
