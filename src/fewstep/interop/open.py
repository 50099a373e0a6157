"""From a diffusers folder, a file or a hub id to a pipeline that can be a teacher."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from fewstep.errors import DataError, WeightsError
from fewstep.interop.packing import BESIDE, CONTROL
from fewstep.interop.pipe import Pipe
from fewstep.interop.reading import INDEX, family_of, is_pipeline, read
from fewstep.interop.style import merge_style
from fewstep.interop.which import Which

__all__ = ["INDEX", "is_pipeline", "open_pipe", "reopened"]

READERS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")  # what reads prompts, and is never left out
WORDS = 2  # a tokenizer without files still knows its marks, and T5's what a word begins with


def open_pipe(
    place: str | Path,
    size: tuple[int, int] | None = None,
    lora: str | Path | Sequence[str | Path] | None = None,
    config: str | Path | None = None,
    variant: str | None = None,
    revision: str | None = None,
) -> Pipe:
    """Open a pipeline for images of ``size`` (height, width) pixels, by default what it was made for.

    ``place`` is a diffusers folder, a single-file checkpoint that diffusers reads, or an id on the hub.  ``lora`` is a
    file or folder whose adapter is merged into the weights, or several, merged in their order: a base with styles is a
    teacher like any other.  ``config`` is a diffusers folder with the configurations for a single-file checkpoint,
    which are fetched from the hub otherwise.  ``variant`` is one of the weights, such as fp16 (a folder that has no
    others is opened in it anyway), ``revision`` a branch, tag or commit on the hub.  Whatever the files hold, all of
    it is float32.  Code that comes with a repository is not run, and only safetensors are read.
    Raises ``WeightsError`` for a family that is not known, a missing component, weights that are not there, a few-step
    student, a tokenizer without words, one that reads more than its encoder has positions for, an adapter that does not
    fit, a variant or revision that is not there, and a hub id that cannot be fetched; ``DataError`` for a size that the
    autoencoder does not divide or the backbone cannot take, or none where the pipeline has none of its own.  Warns
    (``UnreadWeights``) of weights that no network has a place for.
    """
    which = Which.at(str(place), variant, revision)
    pipeline = read(str(place), None if config is None else Path(config), which)
    family = family_of(type(pipeline).__name__, str(place))
    _refuse_silent(pipeline, str(place))
    _refuse_wordless(pipeline, str(place))
    _refuse_longer(pipeline, str(place))
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            part.eval().requires_grad_(False).float()  # stock pipelines run no half-precision encoder beside the rest
    pipeline.set_progress_bar_config(disable=True)
    styles = _listed(lora)
    for style in styles:
        merge_style(pipeline, family, style)
    kept = str(Path(place).resolve()) if Path(place).exists() else str(place)
    pipe = Pipe(pipeline, family, kept, size or (0, 0), tuple(str(style.resolve()) for style in styles), which)
    _refuse_student(pipe)
    pipe = pipe if size is not None and _fits(pipe) else replace(pipe, size=_own_size(pipe))
    _refuse_other_extra(pipe)
    return pipe


def reopened(facts: Mapping[str, Any]) -> Pipe:
    """Open the pipeline that ``Pipe.facts`` were said of.  Of one style older runs state no list, but its path."""
    height, width = facts["size"]
    return open_pipe(facts["pipeline"], (height, width), facts.get("style"), **Which.of(facts).facts)


def _listed(lora: str | Path | Sequence[str | Path] | None) -> list[Path]:
    """Return the adapters that were given, one or several or none."""
    given = [] if lora is None else [lora] if isinstance(lora, str | Path) else lora
    return [Path(each) for each in given]


def _refuse_silent(pipeline: Any, place: str) -> None:
    """Raise for a pipeline that reads prompts, but lacks what reads them."""
    if absent := [name for name in READERS if name in pipeline.components and pipeline.components[name] is None]:
        raise WeightsError(
            f"{place} is a {type(pipeline).__name__} without {', '.join(absent)}, so that it cannot read a prompt. Put "
            "in what is missing, and save it again."
        )


def _refuse_wordless(pipeline: Any, place: str) -> None:
    """Raise for a tokenizer without its vocabulary, to which every word is the same unknown one."""
    for name, part in pipeline.components.items():
        if not name.startswith("tokenizer") or part is None:
            continue
        if len({*part.get_vocab()} - {*part.all_special_tokens}) < WORDS:
            raise WeightsError(
                f"The {name} of {place} knows no words, as the files of its vocabulary are not there: every prompt "
                f"would read the same. Put {' or '.join(part.vocab_files_names.values())} into {name}, or save the "
                "pipeline again."
            )


def _refuse_student(pipe: Pipe) -> None:
    """Raise for a U-Net whose guidance scale is an input: nobody would tell it one."""
    if pipe.backbone.config.get("time_cond_proj_dim"):
        raise WeightsError(
            f"The {pipe.family.BACKBONE} of {pipe.place} is told its guidance scale (time_cond_proj_dim), as students "
            "of guided teachers are; a recipe would tell it none. Give the pipeline that it was distilled from."
        )


def _refuse_longer(pipeline: Any, place: str) -> None:
    """Raise for a CLIP encoder that is to read more tokens than it has positions for."""
    for name, reader in pipeline.components.items():
        if not type(reader).__name__.startswith("CLIPTextModel"):
            continue
        tokenizer = name.replace("text_encoder", "tokenizer")
        wanted, most = pipeline.components[tokenizer].model_max_length, reader.config.max_position_embeddings
        if wanted > most:
            raise WeightsError(
                f"The {tokenizer} of {place} reads prompts of up to {wanted} tokens, but its {name}, a CLIP model, has "
                f"learned positions for {most} only. Set model_max_length in {tokenizer}/tokenizer_config.json to "
                f"{most}; prompts can be longer where T5 reads them, in PixArt, Stable Diffusion 3 and Flux."
            )


def _refuse_other_extra(pipe: Pipe) -> None:
    """Raise for a pipeline that is told more than a prompt, but in another way than those that are known."""
    if pipe.extra is None:
        return
    kind, parts = type(pipe.pipeline).__name__, pipe.extra.shapes(pipe.shape, pipe.size)
    wanted, found = pipe.shape[0] + parts.get(BESIDE, (0,))[0], pipe.backbone.config.in_channels
    if wanted != found:
        raise WeightsError(
            f"{pipe.place} is a {kind} whose {pipe.family.BACKBONE} takes {found} channels; one that is told of its "
            f"images takes {wanted}. One of {pipe.shape[0]} channels never sees them: open it as a text-to-image "
            "pipeline."
        )
    several = CONTROL in parts and type(pipe.pipeline.controlnet).__name__ != "ControlNetModel"
    if several:
        raise WeightsError(
            f"{pipe.place} is steered by a {type(pipe.pipeline.controlnet).__name__}; accepted is one ControlNetModel. "
            "Save the pipeline with one."
        )


def _own_size(pipe: Pipe) -> tuple[int, int]:
    """Return the size of image that the stock pipeline makes when nobody says one."""
    sample = pipe.family.side(pipe.pipeline)
    if sample is None:
        raise DataError(
            f"The {pipe.family.BACKBONE} of {pipe.place} states no size of images (sample_size). Give one: --size N; "
            "in Python open_pipe(place, (height, width))."
        )
    height, width = (sample, sample) if isinstance(sample, int) else sample
    return height * pipe.factor, width * pipe.factor


def _fits(pipe: Pipe) -> bool:
    """Say whether the size is whole; raise ``DataError`` when it is not, or more than there are positions for."""
    config = pipe.backbone.config
    unit, most = pipe.factor * pipe.family.unit(config), pipe.family.most(config)
    if any(side < unit or side % unit for side in pipe.size):
        height, width = pipe.size
        nearest_size = [max(round(side / unit), 1) * unit for side in (height, width)]
        raise DataError(
            f"Images of {height} x {width} pixels were asked for, but this pipeline makes them in units of {unit}. "
            f"Give {nearest_size[0]} x {nearest_size[1]}, for example."
        )
    if most is not None and max(pipe.size) > most * pipe.factor:
        raise DataError(
            f"Images of {pipe.size[0]} x {pipe.size[1]} pixels were asked for, but the {pipe.family.BACKBONE} of "
            f"{pipe.place} has positions for {most * pipe.factor} a side. Give no more."
        )
    return True
