"""From a diffusers folder, a file or a hub id to a pipeline that can be a teacher."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from fewstep.errors import DataError, MissingExtra, WeightsError, nearest
from fewstep.interop.families import FAMILIES, Family
from fewstep.interop.packing import BESIDE, CONTROL
from fewstep.interop.pipe import Pipe
from fewstep.interop.quiet import quiet

__all__ = ["INDEX", "is_pipeline", "open_pipe"]

INDEX = "model_index.json"


def is_pipeline(place: str | Path) -> bool:
    """Say whether ``place`` is a diffusers folder, a single-file checkpoint, or no path here at all but a hub id."""
    path = Path(place)
    if path.exists():
        return (path / INDEX).is_file() or path.suffix == ".safetensors"
    return str(place).count("/") == 1 and not path.is_absolute() and not path.parent.exists()


def open_pipe(place: str | Path, size: tuple[int, int] | None = None, lora: str | Path | None = None) -> Pipe:
    """Open a pipeline for images of ``size`` (height, width) pixels, by default what it was made for.

    ``place`` is a diffusers folder, a single-file checkpoint that diffusers reads, or an id on the hub.  ``lora`` is a
    file or folder whose adapter is merged into the weights: a base with a style is a teacher like any other.
    Code that comes with a repository is not run, and only safetensors are read.
    Raises ``WeightsError`` for a family that is not known, a missing component, a tokenizer that reads more than its
    encoder has positions for, an adapter that does not fit, and a hub id that cannot be fetched; ``DataError`` for a
    size that the autoencoder does not divide.
    """
    pipeline = _read(str(place))
    name = type(pipeline).__name__
    family = _family(name, str(place))
    _refuse_longer(pipeline, str(place))
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            part.eval().requires_grad_(False)
    pipeline.set_progress_bar_config(disable=True)
    if lora is not None:
        _merge(pipeline, family, Path(lora))
    kept = str(Path(place).resolve()) if Path(place).exists() else str(place)
    pipe = Pipe(pipeline, family, kept, size or (0, 0), None if lora is None else str(Path(lora).resolve()))
    pipe = pipe if size is not None and _fits(pipe) else replace(pipe, size=_own_size(pipe))
    _refuse_other_extra(pipe)
    return pipe


def _read(place: str) -> Any:
    """Return diffusers' own object."""
    try:
        import diffusers
    except ImportError as error:
        raise MissingExtra(
            f"{place} is a pipeline, which needs diffusers ({error}): pip install 'fewstep[diffusers]'"
        ) from error
    path = Path(place)
    if path.is_dir():
        _refuse_unknown(path)
    elif path.suffix == ".safetensors":
        return _single_file(path)
    elif path.exists() or not is_pipeline(place):
        raise WeightsError(
            f"{place} is no diffusers folder (no {INDEX} in it), no .safetensors checkpoint, and no hub id such as "
            "owner/name. Give one of these."
        )
    try:
        with quiet():
            return diffusers.DiffusionPipeline.from_pretrained(
                place, use_safetensors=True, local_files_only=path.is_dir()
            )
    except Exception as error:  # readers raise all kinds: OSError, ValueError, those of the hub and of safetensors
        what = "Complete the folder." if path.is_dir() else (
            "Is the network reachable, and the id right? Without a network, download the repository elsewhere and give "
            "its folder."
        )  # fmt: skip
        raise WeightsError(f"{place} cannot be opened as a pipeline: {error}. {what}") from error


def _single_file(path: Path) -> Any:
    """Return the pipeline of a checkpoint in one file; which one it is, its keys say."""
    import diffusers

    for kind in ("StableDiffusionXLPipeline", "StableDiffusionPipeline", "StableDiffusion3Pipeline", "FluxPipeline"):
        try:
            return getattr(diffusers, kind).from_single_file(str(path))
        except Exception:  # the next one
            continue
    raise WeightsError(
        f"{path} cannot be read as a single-file checkpoint of Stable Diffusion, XL, 3 or Flux. The configurations of "
        "these are fetched from the hub: without a network convert it to a folder elsewhere, and give that folder."
    )


def _refuse_unknown(folder: Path) -> None:
    """Raise for a folder that is no pipeline, of a family that is not known, or not whole."""
    if not (folder / INDEX).is_file():
        raise WeightsError(f"{folder} holds no {INDEX}; give a folder that diffusers' save_pretrained has written.")
    try:
        index: Mapping[str, Any] = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{folder / INDEX} cannot be read ({error}); restore the file.") from error
    _family(str(index.get("_class_name")), str(folder))
    parts = {name for name, entry in index.items() if isinstance(entry, list) and entry[0] is not None}
    if missing := sorted(name for name in parts if not (folder / name).is_dir()):
        raise WeightsError(
            f"{folder} lacks {', '.join(missing)}, which its {INDEX} names. Save the pipeline again, or copy what is "
            "missing into it."
        )


def _family(name: str, place: str) -> Family:
    known = {pipeline: family for family in FAMILIES for pipeline in (*family.PIPELINES, *family.EXTRAS)}
    if name not in known:
        raise WeightsError(f"{place} is a {name}, which fewstep does not know; {nearest(name, known)}")
    return known[name]


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


def _merge(pipeline: Any, family: Family, path: Path) -> None:
    """Merge an adapter into the weights; every key of it must find its place."""
    from safetensors.torch import load_file

    file = path / "pytorch_lora_weights.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise WeightsError(f"There is no LoRA file {file}. Give a .safetensors file, or a folder that holds one.")
    before = {name: weight.clone() for name, weight in pipeline.components[family.BACKBONE].named_parameters()}
    meant = {key.rsplit(".lora", 1)[0].rsplit(".alpha", 1)[0] for key in load_file(file)}
    try:
        pipeline.load_lora_weights(str(file.parent), weight_name=file.name)
    except Exception as error:
        raise WeightsError(f"{file} does not fit this pipeline: {error}. Give a LoRA of the same base.") from error
    parts = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]
    found = sum(name.endswith("lora_A") for part in parts for name, _ in part.named_modules())
    if found < len(meant):
        raise WeightsError(
            f"{file} changes {len(meant)} layers, of which this pipeline has {found}. Give a LoRA of the same base, in "
            "diffusers' or kohya's names."
        )
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    after = dict(pipeline.components[family.BACKBONE].named_parameters())
    if all(weight.equal(after[name]) for name, weight in before.items()):
        raise WeightsError(f"{file} leaves the {family.BACKBONE} as it is. Give a LoRA that was trained on it.")


def _own_size(pipe: Pipe) -> tuple[int, int]:
    """Return the size of image that the backbone was made for."""
    sample = pipe.backbone.config.get("sample_size") or 64  # transformers without a size of their own: Flux, 1024 px
    height, width = (sample, sample) if isinstance(sample, int) else sample
    return height * pipe.factor, width * pipe.factor


def _fits(pipe: Pipe) -> bool:
    """Say whether the size is whole; raise ``DataError`` when it is not."""
    patch = int(pipe.backbone.config.get("patch_size") or 1)
    unit = pipe.factor * (2 if pipe.family.name == "flux" else patch)
    if any(side < unit or side % unit for side in pipe.size):
        height, width = pipe.size
        nearest_size = [max(round(side / unit), 1) * unit for side in (height, width)]
        raise DataError(
            f"Images of {height} x {width} pixels were asked for, but this pipeline makes them in units of {unit}. "
            f"Give {nearest_size[0]} x {nearest_size[1]}, for example."
        )
    return True
