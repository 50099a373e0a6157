"""Models side by side: one table and one picture, of the same seeds and labels."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from fewstep.data import Data
from fewstep.errors import DataError
from fewstep.evaluate import (
    Report,
    Row,
    Strip,
    markdown,
    quality_curve,
    read_rows,
    strip,
    write_report,
    write_rows,
)
from fewstep.files import CACHE, write_whole
from fewstep.interop import Encoded
from fewstep.interop.which import Which
from fewstep.jobs.heard import listening
from fewstep.jobs.measure import judge_for, measure_all
from fewstep.jobs.models import PLAIN, models_at
from fewstep.jobs.origin import data_for
from fewstep.model import Model
from fewstep.versions import hardware

__all__ = ["Comparison", "compare", "names_of", "stored_rows"]

SHOWN = 12  # images in a row of the picture
ROWS = "evaluation.json"


@dataclass(frozen=True)
class Comparison:
    """How to compare: the data to judge by (default: those of the first model), how many samples (default: as many
    as there are real ones), where feature networks are kept, whether bars are shown, the guidance scale of those that
    take one (default: their own), and from which of their files pipelines are opened."""

    data: str | None = None
    samples: int | None = None
    cache: Path = CACHE
    show: bool = True
    guidance: float | None = None
    which: Which = PLAIN


def names_of(folders: Sequence[Path]) -> dict[str, Path]:
    """Name each folder: by its last part, or by its whole path where two end alike.  Raises ``DataError`` for one
    that is given twice."""
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise DataError(f"A folder is given twice: {', '.join(map(str, folders))}. Give each model once.")
    ends = [folder.resolve().name for folder in folders]
    return {str(folder) if ends.count(end) > 1 else end: folder for folder, end in zip(folders, ends, strict=True)}


def compare(folders: Sequence[Path], out: Path, how: Comparison) -> list[Row]:
    """Judge the models and write ``table.md``, ``strip.png``, ``curve.png``, ``results.json`` and ``report.html``.

    Models of sounds get no strip; the report has players instead.
    Rows that `fewstep evaluate` left in a folder are used when they were measured in the same way; otherwise the
    models are judged now.  Returns the rows, the floor first.
    """
    named = names_of(folders)
    models = models_at(named, how.guidance, how.which)
    named = dict(zip(models, named.values(), strict=True))
    data = data_for(next(iter(models.values())), folders[0], how.data)
    _refuse_different(models, named)
    jobs = [(name, model, steps) for name, model in models.items() for steps in sorted(model.sampler.made_for)]
    rows = _stored(named) if (how.data, how.samples, how.guidance) == (None, None, None) else None
    rows = rows or measure_all(jobs, judge_for(data, cache=how.cache), how.samples, how.show)
    _write(out, rows, models, data, named)
    return rows


def stored_rows(folder: Path) -> list[Row] | None:
    """Return the rows in the folder of a run; None when there are none, or only of an older model.

    Those of a pipeline are not used again: nothing says whether it has changed.
    """
    path, run = folder / ROWS, folder / "run.json"
    if not path.is_file() or not run.is_file() or path.stat().st_mtime < run.stat().st_mtime:
        return None
    return read_rows(path)


def _stored(named: Mapping[str, Path]) -> list[Row] | None:
    """Return the stored rows of all models when they can be compared: one floor, one number of samples."""
    found: list[Row] = []
    floors: set[Row] = set()
    for name, folder in named.items():
        rows = stored_rows(folder) or []
        own = [row for row in rows if row.model == folder.resolve().name]
        if not own:
            return None
        floors |= {row for row in rows if row.model == "real"}
        found += [replace(row, model=name) for row in own]
    return [*floors, *found] if len(floors) == 1 and len({row.samples for row in found}) == 1 else None


def _refuse_different(models: Mapping[str, Model], named: Mapping[str, Path]) -> None:
    first = next(iter(models))
    for name, model in models.items():
        asked, wanted = ((each.shape, each.classes, each.condition) for each in (model, models[first]))
        if asked != wanted:
            raise DataError(
                f"{named[first]} makes items of {models[first].shape} in {len(models[first].classes)} classes, "
                f"{named[name]} of {model.shape} in {len(model.classes)}. Compare models of the same data."
            )


def _write(out: Path, rows: list[Row], models: Mapping[str, Model], data: Data, named: Mapping[str, Path]) -> None:
    write_rows(out / "results.json", rows)
    write_whole(out / "table.md", markdown(rows).encode())
    quality_curve(rows, out / "curve.png")
    sounds = None if data.ear is None else listening(rows, models, data, data.ear)
    if sounds is None:
        strip(list(_strips(rows, models, data)), out / "strip.png", _heads(data))
    settings = {"data": data.name, "hardware": hardware()} | {name: str(folder) for name, folder in named.items()}
    command = f"fewstep compare {' '.join(map(str, named.values()))} --out {out}"
    curve = (out / "curve.png").read_bytes()
    picture = out / "strip.png" if sounds is None else None
    report = Report(" and ".join(models), picture, rows, curve, None, settings, [command], {}, listening=sounds)
    write_report(out / "report.html", report)


def _strips(rows: list[Row], models: Mapping[str, Model], data: Data) -> Iterator[Strip]:
    """One row of pictures per measured row, all of the same seeds and labels."""
    for row in rows:
        if row.model in models:
            model = models[row.model]
            about = f"{1000 * (row.seconds_per_image or 0):.2f} ms an image\nFréchet distance {row.frechet or 0:.3g}"
            title = f"{row.model}, {row.steps} step{'s' if row.steps != 1 else ''}"
            samples = model.sample(range(SHOWN), _shown(model, data), row.steps)
            yield Strip(title, about, data.pictures(samples))


def _heads(data: Data) -> list[str]:
    """Return what the pictures were asked to show: captions, or the names of the classes in turn."""
    if isinstance(data, Encoded) and data.condition:
        return [data.captions[i % len(data)] for i in range(SHOWN)]
    return [data.classes[i % len(data.classes)] for i in range(SHOWN)] if data.classes else []


def _shown(model: Model, data: Data) -> list[int] | Tensor | None:
    """Return the classes in turn, or the conditions of the first items."""
    if model.condition:
        return data.conditions([i % len(data) for i in range(SHOWN)])
    return [i % len(model.classes) for i in range(SHOWN)] if model.classes else None
