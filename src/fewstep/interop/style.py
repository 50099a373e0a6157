"""A style on top of a pipeline: an adapter that is merged into the weights."""

from pathlib import Path
from typing import Any

from torch import nn

from fewstep.errors import WeightsError
from fewstep.interop.families import Family
from fewstep.interop.listening import KEYED, listening
from fewstep.interop.own import reads_adapters
from fewstep.interop.quiet import quiet

__all__ = ["LORA_FILE", "merge_style"]

LORA_FILE = "pytorch_lora_weights.safetensors"  # diffusers', in a folder
SIDES = (".lora", ".alpha", ".dora_scale")  # what follows the name of a layer, as the readers spell it


def merge_style(pipeline: Any, family: Family, path: Path) -> None:
    """Merge an adapter into the weights; every key of it must find its place.

    Raises ``WeightsError`` for a file that is none, cannot be read, was made for another base, has keys that the
    reader drops, or changes nothing.
    """
    file = path / LORA_FILE if path.is_dir() else path
    if not file.is_file():
        raise WeightsError(f"There is no LoRA file {file}. Give a .safetensors file, or a folder that holds one.")
    if file.suffix != ".safetensors":
        raise WeightsError(f"{file} is no .safetensors file, and no other kind is read. Convert it, and give that.")
    if not reads_adapters(pipeline):
        raise WeightsError(f"A {type(pipeline).__name__} takes no LoRA, but {file} was given. Leave it out.")
    told = {"weight_name": file.name, "use_safetensors": True, "local_files_only": True}
    try:
        with quiet(), listening() as said:
            meant = _layers(pipeline, file, told)
            pipeline.load_lora_weights(str(file.parent), **told)
    except Exception as error:  # readers raise all kinds
        raise WeightsError(
            f"{file} cannot be read as an adapter of this pipeline: {error}. Give a whole LoRA of the same base."
        ) from error
    _refuse_dropped(pipeline, file, meant, said)
    if not _changes(pipeline.components[family.BACKBONE]):
        raise WeightsError(f"{file} leaves the {family.BACKBONE} as it is. Give a LoRA that was trained on it.")
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()


def _layers(pipeline: Any, file: Path, told: dict[str, Any]) -> set[str]:
    """Return the layers of the file in the names of diffusers; one key of kohya's may stand for several of them."""
    more = {"unet_config": pipeline.unet.config} if "unet" in pipeline.components else {}
    found = pipeline.lora_state_dict(str(file.parent), **told, **more)
    keys = found[0] if isinstance(found, tuple) else found
    return {key[: min(at for side in SIDES if (at := key.find(side)) >= 0)] for key in keys if _is_side(key)}


def _is_side(key: str) -> bool:
    return any(side in key for side in SIDES)


def _refuse_dropped(pipeline: Any, file: Path, meant: set[str], said: list[str]) -> None:
    """Raise for layers that have no adapter now, and for what the reader said of keys."""
    parts = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]
    found = sum(name.endswith("lora_A") for part in parts for name, _ in part.named_modules())
    if found < len(meant):
        raise WeightsError(
            f"{file} changes {len(meant)} layers, of which this pipeline has {found}. Give a LoRA of the same base, in "
            "diffusers' or kohya's names."
        )
    others = [
        f"prefix='{name}'" for name in pipeline.components if not any(key.startswith(f"{name}.") for key in meant)
    ]
    counts = [each for each in said if any(word in each.lower() for word in KEYED)]
    if counts := [each for each in counts if not any(name in each for name in others)]:
        raise WeightsError(
            f"The reader of {file} does not take all of it: {counts[0]}. Give a LoRA that it reads whole."
        )


def _changes(net: nn.Module) -> bool:
    """Say whether any adapter of a network adds something."""
    adapted = [
        net.get_submodule(name.removesuffix(".lora_A")) for name, _ in net.named_modules() if name.endswith(".lora_A")
    ]
    return any(bool(layer.get_delta_weight(name).any()) for layer in adapted for name in layer.lora_A)  # type: ignore[operator, union-attr]
