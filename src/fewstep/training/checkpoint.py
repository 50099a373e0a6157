"""The state of a training on disk, so that stop and resume equals an uninterrupted run."""

import json
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from fewstep.errors import WeightsError
from fewstep.files import whole_folder
from fewstep.training.learner import Learner
from fewstep.training.loop import Training

__all__ = [
    "checkpoints",
    "load_weights",
    "read_weights",
    "restore",
    "save_training",
    "save_weights",
    "weights_bytes",
]

FORMAT = 1


def save_weights(net: nn.Module, path: Path, without: Collection[str] = ()) -> None:
    """Write the parameters and buffers of a network as safetensors; the caller makes the write atomic."""
    path.write_bytes(weights_bytes(net, without))


def weights_bytes(net: nn.Module, without: Collection[str] = ()) -> bytes:
    """Return the safetensors file of a network's parameters and buffers, but for those ``without``.

    What a network has under two names, as T5 its embedding, is there twice.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _state(net, without).items()}
    places = [tensor.untyped_storage().data_ptr() for tensor in tensors.values()]
    first = {place: name for name, place in reversed([*zip(tensors, places, strict=True)])}
    own = set(first.values())
    return save({name: tensor if name in own else tensor.clone() for name, tensor in tensors.items()})


def load_weights(net: nn.Module, path: Path, without: Collection[str] = ()) -> None:
    """Read what ``save_weights`` wrote into a network of the same shape; what is ``without`` stays as it is.

    Raises ``WeightsError``, in a sentence, when the file is missing, damaged or of another network.
    """
    tensors, own = read_weights(path), _state(net, without)
    wrong = [
        f"{name} is {_form(tensors.get(name))}, not {_form(own.get(name))}"
        for name in sorted({*tensors, *own})
        if _form(tensors.get(name)) != _form(own.get(name))
    ]
    if wrong:
        raise WeightsError(
            f"{path} holds the weights of another network: {len(wrong)} of {len(own)} tensors differ, first "
            f"{'; '.join(wrong[:3])}. Load it into the network it was saved from; run.json beside it names it."
        )
    net.load_state_dict(tensors, strict=False)  # all names were compared


def save_training(training: Training, root: Path, extra: Mapping[str, Any], keep: int = 2) -> Path:
    """Write ``root/step-N`` whole or not at all, then remove all but the newest ``keep``."""
    path = root / f"step-{training.step:08d}"
    with whole_folder(path) as draft:
        for name, learner in training.learners.items():
            _save_learner(learner, draft, name)
        updates = {name: learner.updates for name, learner in training.learners.items()}
        state = {"format": FORMAT, "step": training.step, "updates": updates, "extra": dict(extra)}
        (draft / "state.json").write_text(json.dumps(state, indent=1))
    for old in checkpoints(root)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def checkpoints(root: Path) -> list[Path]:
    """Return the whole checkpoints in a folder, the newest last."""
    return sorted(p for p in root.glob("step-*") if re.fullmatch(r"step-\d{8}", p.name) and (p / "state.json").exists())


def restore(training: Training, path: Path) -> dict[str, Any]:
    """Bring a training to the state of a checkpoint; return what was saved as ``extra``."""
    try:
        state = json.loads((path / "state.json").read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} is no readable checkpoint ({error}); remove it to use the one before.") from error
    if state.get("format") != FORMAT or set(state["updates"]) != set(training.learners):
        raise WeightsError(
            f"{path} belongs to another method: it holds the learners {sorted(state.get('updates', []))}, this recipe "
            f"has {sorted(training.learners)}. Resume with the recipe it was made with, or give another folder."
        )
    for name, learner in training.learners.items():
        _load_learner(learner, path, name)
        learner.updates = state["updates"][name]
    training.step = state["step"]
    return cast(dict[str, Any], state["extra"])


def _save_learner(learner: Learner, folder: Path, name: str) -> None:
    save_weights(learner.bare, folder / f"{name}.safetensors", learner.shared)
    for average, follower in learner.followers.items():
        save_weights(follower.net, folder / f"{name}.{average}.safetensors", learner.shared)
    state = learner.optimizer.state_dict()["state"]
    flat = {f"{i}.{key}": torch.as_tensor(value) for i, entry in state.items() for key, value in entry.items()}
    content = save({key: tensor.detach().cpu().contiguous() for key, tensor in flat.items()})
    (folder / f"{name}.optimiser.safetensors").write_bytes(content)


def _load_learner(learner: Learner, folder: Path, name: str) -> None:
    load_weights(learner.bare, folder / f"{name}.safetensors", learner.shared)
    for average, follower in learner.followers.items():
        load_weights(follower.net, folder / f"{name}.{average}.safetensors", learner.shared)
    entries: dict[int, dict[str, Tensor]] = {}
    parameters = list(learner.parameters.values())
    for key, value in read_weights(folder / f"{name}.optimiser.safetensors").items():
        index, field = key.split(".", 1)
        entries.setdefault(int(index), {})[field] = _laid_out(value, parameters[int(index)])
    groups = learner.optimizer.state_dict()["param_groups"]
    learner.optimizer.load_state_dict({"state": entries, "param_groups": groups})


def _laid_out(value: Tensor, like: Tensor) -> Tensor:
    """Give an optimiser's tensor the memory layout of its parameter, which fused kernels take for granted."""
    return torch.empty_like(like).copy_(value) if value.shape == like.shape else value


def _form(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else f"{list(tensor.shape)}"


def _state(net: nn.Module, without: Collection[str]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in net.state_dict().items() if name not in without}


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file; raise ``WeightsError`` when it cannot be read."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{path} cannot be read ({error}). Accepted are whole safetensors files; use another checkpoint."
        ) from error
