"""Models on disk: ``run.json`` says in words what a folder holds, ``model.safetensors`` holds the weights."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from fewstep.denoiser import Denoiser
from fewstep.errors import WeightsError
from fewstep.files import write_whole
from fewstep.model import Model
from fewstep.networks import LORA, Adapted, LoraFile, build_network, described, digest_of
from fewstep.predict import Prediction
from fewstep.process import Process
from fewstep.recipes import Builder, Document, spell
from fewstep.sampling import Sampler
from fewstep.sharing import copy_sharing
from fewstep.training import load_weights, weights_bytes

__all__ = ["fingerprint", "load_adapter", "load_lora", "load_model", "read_run", "save_model"]

FORMAT = 1
WORDS, WEIGHTS = "run.json", "model.safetensors"
KEYS = ("network", "process", "prediction", "second_time", "sampler", "shape", "classes", "facts")


def save_model(model: Model, folder: Path | str) -> None:
    """Write the weights, then the words that say what they are, each whole or not at all."""
    view, root = model.view, Path(folder)
    words = {
        "format": FORMAT,
        "network": spell(model.network),
        "process": spell(view.process),
        "prediction": spell(view.prediction),
        "second_time": view.second_time,
        "time_share": view.time_share,
        "sampler": spell(model.sampler),
        "shape": list(model.shape),
        "classes": list(model.classes),
        "condition": list(model.condition),
        "facts": dict(model.facts) | {"weights": fingerprint(model)},
    }
    write_whole(root / WEIGHTS, weights_bytes(view.net))
    write_whole(root / WORDS, (json.dumps(words, indent=1, ensure_ascii=False) + "\n").encode())


def fingerprint(model: Model) -> str:
    """Return 16 hexadecimal digits that change with any weight."""
    return digest_of(model.view.net)


def load_model(folder: str | Path, net: nn.Module | None = None) -> Model:
    """Read a folder that ``save_model`` wrote.

    ``net`` is needed when the network was the caller's own object.  Raises ``WeightsError`` when the folder is
    missing, unfinished, damaged or of another network.
    """
    root = Path(folder)
    words = read_run(root)
    if net is None and not described(words["network"]):
        _refuse_own_network(root)
    if net is None or words["network"]:
        net = build_network(words["network"], net)
    load_weights(net, root / WEIGHTS)
    return _model(root, words, net)


def load_lora(folder: str | Path, base: Model) -> Model:
    """Read the adapter in a folder and put it on the model that it was made on: the student, without its weights.

    Equal to ``load_model`` up to rounding.  Raises ``WeightsError`` when the folder holds no adapter, and for another
    base.
    """
    root = Path(folder)
    words, file = read_run(root), LoraFile.read(root / LORA)
    file.refuse_other(base.view.net, root / LORA)
    net = build_network(words["network"], copy_sharing(base.view.net, ()))
    net.load_state_dict(file.onto(base.view.net))
    return _model(root, words, net)


def load_adapter(folder: str | Path, base: Model) -> Model:
    """Read a student whose adapter learned beside a frozen network, and put it around that of another fine-tune.

    ``base`` is of the same form as the network that the student was made on; nothing of that one's weights is left.
    Raises ``WeightsError`` when the folder holds no such adapter, and for a base of another form.
    Source: SpeedUpNet, arXiv 2312.08887 (an adapter for any fine-tune of one base).
    """
    root = Path(folder)
    student = load_model(root)
    body = student.view.net.body if isinstance(student.view.net, Adapted) else None
    if body is None:
        raise WeightsError(
            f"{root} holds no adapter beside a frozen network. Give that of a student whose recipe has 'adapter', "
            "such as speedupnet; low-rank ones are read by load_lora."
        )
    own, theirs = (
        {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()} for net in (body, base.view.net)
    )
    if own != theirs:
        other = sorted(set(own.items()) ^ set(theirs.items()))
        raise WeightsError(
            f"The adapter in {root} is for another network: {len(other)} tensors differ, first {other[0][0]!r}. Give a "
            "fine-tune of the model that it was made on."
        )
    body.load_state_dict(base.view.net.state_dict())
    return replace(student, facts={**student.facts, **base.facts})


def _model(root: Path, words: dict[str, Any], net: nn.Module) -> Model:
    """Return what the words say, around a network."""
    build = Builder(Document(str(root / WORDS), words)).build
    process: Process = build(Process, words["process"], "process")  # type: ignore[type-abstract]
    prediction: Prediction = build(Prediction, words["prediction"], "prediction")  # type: ignore[type-abstract]
    sampler: Sampler = build(Sampler, words["sampler"], "sampler")  # type: ignore[type-abstract]
    share = words.get("time_share", 1.0)
    view = Denoiser(net.eval().requires_grad_(False), process, prediction, words["second_time"], time_share=share)
    shape, classes, condition = (tuple(words.get(key, ())) for key in ("shape", "classes", "condition"))
    return Model(view, sampler, shape, classes, words["network"], words["facts"], condition)


def read_run(root: Path) -> dict[str, Any]:
    """Read ``run.json``; raise ``WeightsError`` when the folder holds no finished model of this format."""
    if not root.is_dir():
        raise WeightsError(f"There is no folder {root}. Give the --out folder of `fewstep train` or `fewstep distill`.")
    if not (root / WORDS).is_file():
        unfinished = (root / "checkpoints").is_dir()
        reason = (
            "its training is not finished; run the command that started it again and it continues"
            if unfinished
            else "accepted are folders that `fewstep train` or `fewstep distill` wrote"
        )
        raise WeightsError(f"{root} holds no model (no {WORDS}): {reason}.")
    try:
        words = json.loads((root / WORDS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{root / WORDS} cannot be read ({error}); train again or restore the file.") from error
    if not isinstance(words, Mapping) or words.get("format") != FORMAT:
        raise WeightsError(f"{root / WORDS} is not of format {FORMAT}; it was written by another version of fewstep.")
    if missing := [key for key in KEYS if key not in words]:
        raise WeightsError(f"{root / WORDS} lacks {', '.join(missing)}; train again or restore the file.")
    return dict(words)


def _refuse_own_network(root: Path) -> None:
    raise WeightsError(
        f"The model in {root} has a network that was made in Python, not named in a recipe. Load it with "
        "load_model(folder, net=...), giving a network of the same shape."
    )
