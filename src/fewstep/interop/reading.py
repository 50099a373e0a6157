"""Read a diffusers folder, a checkpoint in one file or a hub id: whole, and nothing but safetensors."""

import json
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fewstep.errors import MissingExtra, WeightsError, nearest
from fewstep.interop.families import FAMILIES, Family
from fewstep.interop.listening import dropped, listening, lost
from fewstep.interop.quiet import quiet
from fewstep.interop.single import read_file
from fewstep.interop.which import Which

__all__ = ["INDEX", "UnreadWeights", "family_of", "is_pipeline", "read"]

INDEX = "model_index.json"
NAMED = 3  # keys in a message


class UnreadWeights(UserWarning):
    """Weights in a pipeline's files that none of its networks has a place for."""


def is_pipeline(place: str | Path) -> bool:
    """Say whether ``place`` is a diffusers folder, a single-file checkpoint, or no path here at all but a hub id."""
    path = Path(place)
    if path.exists():
        return (path / INDEX).is_file() or path.suffix == ".safetensors"
    return str(place).count("/") == 1 and not path.is_absolute() and not path.parent.exists()


def read(place: str, config: Path | None, which: Which) -> Any:
    """Return diffusers' own object; ``config`` is the folder that says how a single-file checkpoint is built.

    Raises ``WeightsError`` for what cannot be read, and for weights that are not there.  Warns (``UnreadWeights``) of
    weights that no network takes.
    """
    path = Path(place)
    if not is_pipeline(place) and not path.is_dir():
        raise WeightsError(
            f"{place} is no diffusers folder (no {INDEX} in it), no .safetensors checkpoint, and no hub id such as "
            "owner/name. Give one of these."
        )
    if config is not None and not path.is_file():
        raise WeightsError(
            f"A configuration ({config}) was given for {place}, which brings its own: only checkpoints in one file "
            "need one. Leave it out."
        )
    try:
        import diffusers
    except ImportError as error:
        raise MissingExtra(
            f"{place} is a pipeline, which needs diffusers ({error}): pip install 'fewstep[diffusers]'"
        ) from error
    if path.is_file():
        return read_file(path, config)
    _refuse_folder(path) if path.is_dir() else _refuse_on_hub(place, which)
    try:
        with quiet(), listening() as said:
            found = diffusers.DiffusionPipeline.from_pretrained(
                place, use_safetensors=True, local_files_only=path.is_dir(), trust_remote_code=False, **which.facts
            )
    except Exception as error:  # readers raise all kinds: OSError, ValueError, those of the hub and of safetensors
        raise _unread(place, error, path.is_dir()) from error
    _refuse_lost(place, lost(said))
    if spare := dropped(said):
        parts = "; ".join(f"{len(keys)} of {name}, such as {keys[0]}" for name, keys in spare.items())
        warnings.warn(
            f"Weights of {place} are left out, as its networks have no place for them: {parts}. If they matter, its "
            "configuration is that of another network: save the pipeline again.",
            UnreadWeights,
            stacklevel=3,
        )
    return found


def _unread(place: str, error: Exception, here: bool) -> WeightsError:
    what = "Complete the folder." if here else (
        "There is no such folder here, so it was taken for an id on the hub: is the network reachable, and the id "
        "right? If its weights are there in a variant only, give that (--variant fp16). Without a network, download "
        "the repository elsewhere and give its folder."
    )  # fmt: skip
    return WeightsError(f"{place} cannot be opened as a pipeline: {error}. {what}")


def _refuse_lost(place: str, gone: Mapping[str, list[str]]) -> None:
    """Raise for weights that no file holds; the readers fill such gaps with random numbers."""
    if not gone:
        return
    parts = []
    for name, keys in gone.items():
        more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
        parts.append(f"{name} lacks {', '.join(keys[:NAMED])}{more}")
    raise WeightsError(
        f"{place} is not whole: {'; '.join(parts)}. Random numbers would stand in their place. Save the pipeline "
        "again, or copy or download the weights again."
    )


def _refuse_folder(folder: Path) -> None:
    """Raise for a folder that is no pipeline, of a family that is not known, or not whole."""
    if not (folder / INDEX).is_file():
        raise WeightsError(f"{folder} holds no {INDEX}; give a folder that diffusers' save_pretrained has written.")
    index = _index(folder / INDEX, str(folder))
    parts = {name for name, entry in index.items() if isinstance(entry, list) and entry and entry[0] is not None}
    if missing := sorted(name for name in parts if not (folder / name).is_dir() and name != "_class_name"):
        raise WeightsError(
            f"{folder} lacks {', '.join(missing)}, which its {INDEX} names. Save the pipeline again, or copy what is "
            "missing into it."
        )


def _refuse_on_hub(place: str, which: Which) -> None:
    """Raise for a repository of a family that is not known, before its weights are downloaded."""
    from huggingface_hub import hf_hub_download

    try:
        with quiet():
            file = hf_hub_download(place, INDEX, revision=which.revision)
    except Exception as error:  # the hub's, and those of the connection
        raise _unread(place, error, here=False) from error
    _index(Path(file), place)


def _index(file: Path, place: str) -> Mapping[str, Any]:
    """Return the index of a pipeline whose family is known; raise for any other."""
    try:
        index: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        name = index["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{file} cannot be read as the index of a pipeline ({error!r}); restore the file."
        ) from error
    for part, entry in index.items():
        if isinstance(entry, list) and entry and not _is_known(entry[0]):
            whole = "itself" if part == "_class_name" else f"for its {part}"
            raise WeightsError(
                f"{place} brings code of its own {whole} ({entry[0]}.py, {entry[-1]}), which is not run. Give a "
                "pipeline of diffusers' and transformers' own classes."
            )
    family_of(str(name), place)
    return index


def _is_known(library: object) -> bool:
    """Say whether a component comes out of a library, or of a module of diffusers' pipelines, or is left out."""
    if library in (None, "diffusers", "transformers"):
        return True
    return str(library).isidentifier() and find_spec(f"diffusers.pipelines.{library}") is not None


def family_of(name: str, place: str) -> Family:
    """Return the family of a pipeline's class; raise ``WeightsError`` for one that is not known, or a student's."""
    known = {pipeline: family for family in FAMILIES for pipeline in (*family.PIPELINES, *family.EXTRAS)}
    if name in {student for family in FAMILIES for student in family.STUDENTS}:
        raise WeightsError(
            f"{place} is a {name}: a few-step student already, which is sampled by a rule of its own. Distil the "
            "pipeline that it came from; to begin with what such students learned, give their LoRA (--start LORA "
            "--like lcm)."
        )
    if name not in known:
        raise WeightsError(f"{place} is a {name}, which fewstep does not know; {nearest(name, known)}")
    return known[name]
