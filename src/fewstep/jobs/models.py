"""Models at a place: one of ours in its folder, or the teacher that a pipeline is."""

from collections.abc import Mapping
from pathlib import Path

from fewstep.errors import DataError, RecipeError
from fewstep.interop import Pipe, is_pipeline, open_pipe, reopened
from fewstep.interop.which import Which
from fewstep.model import Model
from fewstep.store import load_model

__all__ = ["PLAIN", "as_asked", "model_at", "models_at", "pipe_at", "pipe_of"]

PLAIN = Which()  # the newest revision, weights without a variant


def pipe_of(model: Model) -> Pipe:
    """Open the pipeline that a student came from; raise ``DataError`` for a model that is no student of one."""
    if "pipeline" not in model.facts:
        raise DataError(
            "This model is no student of a diffusers pipeline: its facts name none. Give the folder of a run of "
            "`fewstep distill` on a diffusers folder."
        )
    return reopened(model.facts)


def model_at(folder: Path | str, guidance: float | None = None, which: Which = PLAIN) -> Model:
    """Return the model in a folder: one of ours, or the teacher that a diffusers pipeline is.

    ``guidance`` is the scale that it is sampled at, by default its own; ``which`` of its files a pipeline is opened
    from.  Raises ``RecipeError`` where no scale is taken, and for a variant or a revision of what is no pipeline.
    """
    if is_pipeline(folder):
        return as_asked(pipe_at(folder, which), guidance)
    if which != PLAIN:
        asked = " and ".join(f"the {name} {value!r}" for name, value in which.facts.items())
        raise RecipeError(f"{asked} was asked for, but {folder} is no diffusers pipeline. Leave it out.")
    model = load_model(folder)
    return model if guidance is None else model.guided(guidance)


def pipe_at(place: Path | str, which: Which = PLAIN) -> Pipe:
    """Open a pipeline from the files that are meant."""
    return open_pipe(place, variant=which.variant, revision=which.revision)


def as_asked(pipe: Pipe, guidance: float | None = None) -> Model:
    """Return the teacher that a pipeline is, at a guidance scale; raise ``RecipeError`` where it takes none."""
    if guidance is not None and not _takes_scale(pipe):
        raise RecipeError(
            f"a guidance scale of {guidance:g} was asked for, but {pipe.place}, a {type(pipe.pipeline).__name__}, "
            "takes none: nothing is asked of it, or its network was distilled to do without. Leave --guidance out."
        )
    return pipe.model(None, guidance)


def models_at(named: Mapping[str, Path], guidance: float | None = None, which: Which = PLAIN) -> dict[str, Model]:
    """Return the models in folders, by name; those that take a guidance scale at this one, as their names then say.

    Pipelines are opened from the files that are meant.  Raises ``RecipeError`` when a scale was given and none takes
    it, and when files of pipelines are meant and there is none.
    """
    meant = {name: which if is_pipeline(folder) or len(named) == 1 else PLAIN for name, folder in named.items()}
    if which != PLAIN and which not in meant.values():
        places = ", ".join(map(str, named.values()))
        raise RecipeError(
            f"A variant or a revision was asked for, but none of {places} is a diffusers pipeline. Leave it out."
        )
    if guidance is None:
        return {name: model_at(folder, None, meant[name]) for name, folder in named.items()}
    models, refused = {}, None
    for name, folder in named.items():
        try:
            models[f"{name}, guidance {guidance:g}"] = model_at(folder, guidance, meant[name])
        except RecipeError as error:
            models[name], refused = model_at(folder, None, meant[name]), error
    if refused is not None and set(models) == set(named):
        raise refused
    return models


def _takes_scale(pipe: Pipe) -> bool:
    """Say whether a guidance scale changes what a pipeline draws."""
    if pipe.family.EMBEDDED:
        return bool(pipe.backbone.config.guidance_embeds)
    return bool(pipe.classes or pipe.packing.shapes)
