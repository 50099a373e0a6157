"""An adapter at another strength than 1: a copy of its file, so that whoever merges it needs no word of that."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fewstep.errors import WeightsError
from fewstep.files import write_whole
from fewstep.interop.style import LORA_FILE

__all__ = ["at_weight", "parted", "refuse_readers"]

UPS = (
    "lora_B.weight",
    "lora.up.weight",
    "lora_up.weight",
)  # what of a low-rank change is multiplied; B A is linear in B
READERS = ("text_encoder", "lora_te")  # what keys of the text encoders begin with
DOWNS = ("lora_A.weight", "lora.down.weight", "lora_down.weight", ".alpha")


def at_weight(style: Path | str, folder: Path, otherwise: float = 1.0) -> Path:
    """Return the file of ``FILE[:WEIGHT]`` at its weight, ``otherwise`` where it says none.

    At a weight other than 1 that is a copy in ``folder``.  Raises ``WeightsError`` for a file that cannot be read, or
    that changes more than low-rank matrices do.
    """
    path, weight = parted(style, otherwise)
    if weight == 1:
        return path
    tensors, words = _read(path)
    if other := sorted(name for name in tensors if not name.endswith((*UPS, *DOWNS))):
        raise WeightsError(
            f"{path} is to be merged at the weight {weight:g}, but holds {other[0]}, which is not low-rank and cannot "
            "be weighed so. Give it at weight 1, or one of low rank."
        )
    weighed = {name: tensor * weight if name.endswith(UPS) else tensor for name, tensor in tensors.items()}
    copy = folder / f"{path.stem}-at-{weight:g}.safetensors"
    write_whole(copy, save(weighed, words))
    return copy


def refuse_readers(path: Path) -> None:
    """Raise ``WeightsError`` for an adapter that changes a text encoder."""
    if found := sorted(name for name in _read(path)[0] if name.startswith(READERS)):
        raise WeightsError(
            f"{path} changes a text encoder too ({found[0]}), with which the teacher reads as well. A student can "
            "begin with an adapter of the network alone; merge this one into the pipeline with --style."
        )


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return tensors and metadata of a LoRA file, or of that in a folder."""
    file = path / LORA_FILE if path.is_dir() else path
    try:
        with safe_open(file, "pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            return tensors, opened.metadata() or {"format": "pt"}
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{file} is no LoRA file that can be read ({error}). Give a .safetensors file.") from error


def parted(style: Path | str, otherwise: float = 1.0) -> tuple[Path, float]:
    """Return file and weight of ``FILE[:WEIGHT]``; a colon with no number behind it belongs to the name."""
    name, colon, weight = str(style).rpartition(":")
    try:
        return (Path(name), float(weight)) if colon else (Path(style), otherwise)
    except ValueError:
        return Path(style), otherwise
