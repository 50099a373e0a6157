"""One file of a store of pairs."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from fewstep.batch import Batch
from fewstep.data.pairs_index import PairsIndex, shard_name
from fewstep.errors import DataError
from fewstep.files import write_whole

__all__ = ["noise", "read_shard", "write_shard"]

AT_ONCE = 64  # pairs that are checked together, which needs twice their memory


def read_shard(root: Path, index: PairsIndex, number: int) -> Batch:
    """Map shard ``number`` from its file. Raises ``DataError`` when it is not what the index promises."""
    file = root / shard_name(number)
    remedy = "Run write_pairs again with the same settings; it writes anew only what is missing or damaged."
    if not file.is_file():
        raise DataError(f"{file} is missing, but the index promises {len(index.sizes)} shards. {remedy}")
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{file} cannot be read; it is truncated or damaged ({error}). {remedy}") from error
    _refuse_broken_promise(tensors, index, number, str(file), remedy)
    return Batch(tensors["x0"], tensors.get("c"), tensors["z"], tensors.get("path"))


def write_shard(root: Path, index: PairsIndex, number: int, batch: Batch) -> None:
    """Write shard ``number`` in one step. Raises ``DataError`` when ``batch`` is not what the index promises."""
    tensors = {"x0": batch.x0, "z": noise(batch), "c": batch.c, "path": batch.path}
    here = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items() if tensor is not None}
    remedy = "Nothing of this shard was written; correct the teacher, its solver or its precision, and run again."
    _refuse_broken_promise(here, index, number, f"the batch for shard {number}", remedy)
    write_whole(root / shard_name(number), save(here))


def noise(batch: Batch) -> Tensor:
    """Return the z of a batch of pairs."""
    if batch.z is None:
        raise DataError("A batch has no z, but pairs need the noise that each x0 started from. Return Batch(x0, c, z).")
    return batch.z


def _refuse_broken_promise(tensors: dict[str, Tensor], index: PairsIndex, number: int, where: str, remedy: str) -> None:
    """Raise ``DataError`` unless names, types and shapes are as promised, numbers finite and labels in range."""
    found = {
        name: f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}" for name, tensor in tensors.items()
    }
    if found != index.tensors(number):
        raise DataError(f"{where} holds {found}, but the index promises {index.tensors(number)}. {remedy}")
    for name in sorted({"z", "x0", "path"} & set(tensors)):
        bad = _not_finite(tensors[name])
        if bad:
            raise DataError(
                f"{bad} of {len(tensors[name])} pairs in {where} have a {name} that is not finite. {remedy}"
            )
    classes = len(index.plan.classes)
    if index.condition == () and classes:
        low, high = int(tensors["c"].min()), int(tensors["c"].max())
        if low < -1 or high >= classes:
            raise DataError(
                f"The labels in {where} run from {low} to {high}, but there are {classes} classes: accepted "
                f"are -1 (no class) to {classes - 1}. {remedy}"
            )


def _not_finite(tensor: Tensor) -> int:
    """Count the items that hold a number which is not finite."""
    parts = (tensor[start : start + AT_ONCE] for start in range(0, len(tensor), AT_ONCE))
    return sum(int((~torch.isfinite(part)).flatten(1).any(1).sum()) for part in parts)
