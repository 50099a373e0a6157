"""Where a run came from: the command that started it and the data it was given, kept beside what it made."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from fewstep.data import NAMED, Data, open_data
from fewstep.errors import DataError, WeightsError
from fewstep.files import write_whole
from fewstep.jobs.models import pipe_of
from fewstep.jobs.pipelines import encoded, settled
from fewstep.jobs.record import holds_run
from fewstep.model import Model

__all__ = ["Origin", "captions_for", "data_for", "illness_of", "keep_illness", "keep_origin", "origin_of"]

FILE, ILLNESS = "command.json", "illness.txt"
SEARCHED = 20  # items, for captions that differ


@dataclass(frozen=True)
class Origin:
    """The command line that started a run, and its data as ``open_data`` takes them: a name or an absolute path."""

    command: str
    data: str


def keep_origin(folder: Path, origin: Origin) -> None:
    """Write ``command.json`` into the folder of a run that is about to begin; that of a run which is there stays."""
    if not holds_run(folder):
        write_whole(folder / FILE, (json.dumps(asdict(origin), indent=1, ensure_ascii=False) + "\n").encode())


def origin_of(folder: Path) -> Origin | None:
    """Return what ``keep_origin`` wrote; None for a run that was started in Python."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        return Origin(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"{path} cannot be read ({error}). Restore the file, or remove it.") from error


def keep_illness(folder: Path, diagnosis: str) -> None:
    """Write down why a monitor stopped a run."""
    write_whole(folder / ILLNESS, f"{diagnosis}\n".encode())


def illness_of(folder: Path) -> str | None:
    """Return what ``keep_illness`` wrote; None for a run that no monitor stopped."""
    path = folder / ILLNESS
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None


def data_for(model: Model, folder: Path, given: str | None = None) -> Data:
    """Open the data that a model was trained on, or those that are ``given``, in the form of what the model makes.

    Raises ``DataError`` when nothing says which data these are, and when they are of another shape or have other
    classes or conditions than the model.
    """
    data = _opened(model, given or _remembered(model, folder))
    other = model.conditional and (tuple(data.classes), data.condition) != (model.classes, model.condition)
    if tuple(data.shape) != model.shape or other:
        raise DataError(
            f"The model in {folder} makes {_form(model)}, but the data {data.name!r} are {_form(data)}. "
            "Give the data that it was trained on with --data."
        )
    return data


def captions_for(model: Model, folder: Path, count: int) -> tuple[str, ...]:
    """Return the first captions of the data that a pipeline's student learned from, each once.

    None where it is told no prompt, where the folder does not say which data these are, and where they are gone or
    have no captions.
    """
    origin = origin_of(folder)
    if origin is None or not model.condition or "pipeline" not in model.facts:
        return ()
    try:
        data = open_data(origin.data, int(model.facts["size"][0]))
        return tuple(dict.fromkeys(data.captions_of(range(min(len(data), SEARCHED)))))[:count]
    except DataError:
        return ()


def _opened(model: Model, name: str) -> Data:
    """Open data in the form of a model's items, as latents of the pipeline where it is a student of one."""
    if "pipeline" in model.facts:
        return encoded(name, settled(pipe_of(model)))
    size, channels = (model.shape[-1], model.shape[0]) if len(model.shape) == 3 else (None, None)
    return open_data(name, size, channels)


def _remembered(model: Model, folder: Path) -> str:
    origin, name = origin_of(folder), model.facts.get("data")
    if origin is not None:
        return origin.data
    if name in NAMED:
        return str(name)
    if name is None:
        raise DataError(
            f"{folder} does not say which data it learned from. Give them with --data, or a prompt with --label."
        )
    raise DataError(
        f"The model in {folder} was trained on {name!r}, but the folder does not say where these data lie. "
        "Give them with --data."
    )


def _form(made: Model | Data) -> str:
    shape = "x".join(map(str, made.shape))
    if made.condition:
        return f"items of {shape}, each with a condition of {'x'.join(map(str, made.condition))}"
    few = f" ({', '.join(made.classes[:5])}{', ...' if len(made.classes) > 5 else ''})" if made.classes else ""
    return f"items of {shape} in {len(made.classes) or 'no'} classes{few}"
