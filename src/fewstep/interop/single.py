"""Checkpoints in one file: which pipeline one is, its keys say; how it is built, a folder of configurations says."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fewstep.errors import WeightsError
from fewstep.files import whole_folder, write_whole
from fewstep.interop.listening import listening
from fewstep.interop.quiet import quiet

__all__ = ["as_folder", "read_file"]

ORIGIN = "checkpoint.json"  # beside the folder's components: which file it was made of
SPARE = ("safety_checker", "feature_extractor", "image_encoder")  # what a pipeline does without
UNET = "model.diffusion_model.input_blocks.0.0.weight"  # the first layer of every U-Net that was published in one file
ELSEWHERE = (
    "Their configurations are fetched from the hub: without a network give a folder with them (--config FOLDER; in "
    "Python open_pipe(..., config=...)), such as any pipeline of the same architecture, even without weights."
)


def _pipelines() -> Mapping[str, Any]:
    """Return the pipelines of what diffusers calls the kinds of checkpoints."""
    import diffusers as d

    return {
        "v1": d.StableDiffusionPipeline,
        "v2": d.StableDiffusionPipeline,
        "xl_base": d.StableDiffusionXLPipeline,
        "inpainting": d.StableDiffusionInpaintPipeline,
        "inpainting_v2": d.StableDiffusionInpaintPipeline,
        "xl_inpaint": d.StableDiffusionXLInpaintPipeline,
        "instruct-pix2pix": d.StableDiffusionInstructPix2PixPipeline,
        "sd3": d.StableDiffusion3Pipeline,
        "sd35_medium": d.StableDiffusion3Pipeline,
        "sd35_large": d.StableDiffusion3Pipeline,
        "flux-dev": d.FluxPipeline,
        "flux-schnell": d.FluxPipeline,
    }


def read_file(path: Path, config: Path | None = None) -> Any:
    """Return the pipeline of a checkpoint in one file.

    ``config`` is a diffusers folder with the configurations of its components, by default the one on the hub that
    diffusers has for checkpoints of its kind.  Raises ``WeightsError`` for a file of another kind, for a configuration
    of another pipeline, and for components or weights that the file does not hold.
    """
    kind = _kind(path)
    pipeline = _pipelines()[kind]
    if config is not None:
        _refuse_other(path, pipeline.__name__, config)
    told = {} if config is None else {"config": str(config), "local_files_only": True}
    try:
        with quiet(), listening():
            found = pipeline.from_single_file(str(path), **told)
    except NotImplementedError as error:  # torch's, of moving a layer that has got no weights
        raise WeightsError(
            f"{path} is a checkpoint of a {pipeline.__name__} that lacks weights of its U-Net, transformer or "
            "autoencoder, or has others than its configuration says. Download it again, or give the configuration of "
            "its own architecture (--config FOLDER)."
        ) from error
    except Exception as error:  # readers raise all kinds: OSError, ValueError, those of the hub and of safetensors
        raise WeightsError(
            f"{path} is a checkpoint of a {pipeline.__name__} (diffusers: {kind}), but cannot be read as one: {error}. "
            f"{ELSEWHERE}"
        ) from error
    _refuse_gaps(path, found)
    return found


def _kind(path: Path) -> str:
    """Return what diffusers calls a checkpoint with these keys; raise where it names none of those that are known."""
    from diffusers.loaders.single_file_utils import infer_diffusers_model_type
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as opened:
            names = opened.keys()
            forms = {name: torch.empty(opened.get_slice(name).get_shape(), device="meta") for name in names}
        kind = str(infer_diffusers_model_type(forms))
    except Exception as error:  # of safetensors, of the disk, and of diffusers where a key is not there
        raise WeightsError(f"{path} cannot be read as a checkpoint in one file: {error}. Download it again.") from error
    if kind not in _pipelines() or (kind == "v1" and not _is_unet(forms)):  # v1 is what it says of anything else
        raise WeightsError(
            f"{path} holds no pipeline that fewstep knows: its keys are those of {_words(kind, forms)}. Accepted are "
            "whole checkpoints of Stable Diffusion 1, 2, XL and 3, and of Flux; convert others to a folder with "
            "diffusers, and give that folder."
        )
    return kind


def _is_unet(forms: Mapping[str, Tensor]) -> bool:
    return UNET in forms


def _words(kind: str, forms: Mapping[str, Tensor]) -> str:
    return kind if kind != "v1" else f"something else ({', '.join(sorted(forms)[:2])}, ...)"


def _refuse_other(path: Path, name: str, config: Path) -> None:
    """Raise for a folder of configurations that is none, or of another pipeline."""
    index = config / "model_index.json"
    try:
        theirs = json.loads(index.read_text(encoding="utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{config} is no folder of configurations: {index} cannot be read ({error!r}). Give a diffusers folder, or "
            "one with its .json and tokenizer files alone."
        ) from error
    if theirs != name:
        raise WeightsError(
            f"{path} is a checkpoint of a {name}, but {config} has the configuration of a {theirs}. Give one of a "
            f"{name}."
        )


def _refuse_gaps(path: Path, pipeline: Any) -> None:
    """Raise for components and weights that the file does not hold."""
    named = pipeline.components.items()
    absent = sorted(name for name, part in named if part is None and name not in SPARE)
    parts = {name: part for name, part in named if isinstance(part, nn.Module)}
    empty = [
        f"{name}.{key}" for name, part in parts.items() for key, weight in part.named_parameters() if weight.is_meta
    ]
    if absent or empty:
        more = f" and {len(empty) - 3} more" if len(empty) > 3 else ""
        raise WeightsError(
            f"{path} is read as a {type(pipeline).__name__}, but holds no {', '.join([*absent, *empty[:3]])}{more}. "
            f"Download it again, or give the configuration of its own kind. {ELSEWHERE}"
        )


def as_folder(path: Path, folder: Path, config: Path | None = None) -> Path:
    """Write the pipeline of a checkpoint in one file into a folder, unless it is there already, and return the folder.

    So that a student has a base that stock diffusers opens without a network, and always in the same way.
    Raises ``WeightsError`` for a folder that was made of another file.
    """
    facts = path.resolve().stat()
    origin = {"file": str(path.resolve()), "bytes": facts.st_size, "changed": facts.st_mtime_ns}
    if (folder / ORIGIN).is_file():
        known = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
        if known != origin:
            raise WeightsError(
                f"{folder} was made of {known['file']} as it was then, and {path} is another file or has changed. Give "
                "another folder with --out, or remove this one."
            )
        return folder
    pipeline = read_file(path, config)
    with whole_folder(folder) as draft, quiet():
        pipeline.save_pretrained(draft, safe_serialization=True)
        write_whole(draft / ORIGIN, json.dumps(origin, indent=1).encode())
    return folder
