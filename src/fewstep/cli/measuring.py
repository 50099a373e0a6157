"""``fewstep evaluate`` and ``fewstep compare``: tables of measured rows."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table
from torch import nn

from fewstep.cli.sampling import accelerated
from fewstep.cli.words import cache_folder, say
from fewstep.errors import RecipeError
from fewstep.evaluate import Row, headline, rich_table, write_rows
from fewstep.evaluate.results import Result
from fewstep.interop import Encoded
from fewstep.interop.which import Which
from fewstep.jobs import judge_for
from fewstep.jobs.bench import Bench, bench
from fewstep.jobs.compare import ROWS, Comparison, compare, names_of
from fewstep.jobs.measure import measure_all
from fewstep.jobs.models import models_at
from fewstep.jobs.origin import data_for
from fewstep.jobs.pages import distance
from fewstep.jobs.publish import RESULTS

__all__ = ["bench_recipes", "compare_models", "comparison", "evaluate_model", "feature_network"]


def comparison(
    data: str | None,
    samples: int | None,
    show: bool,
    guidance: float | None,
    variant: str | None = None,
    revision: str | None = None,
) -> Comparison:
    """Return how to compare, by what was typed."""
    return Comparison(data, samples, cache_folder(), show, guidance, Which(variant, revision))


def evaluate_model(
    folder: Path, against: Path | None, steps: Sequence[int], how: Comparison, features: str | None
) -> None:
    """Judge a model, and another one beside it; write the rows into the model's folder."""
    network = feature_network(features) if features else None
    named = names_of([folder] if against is None else [against, folder])
    models = {name: accelerated(model) for name, model in models_at(named, how.guidance, how.which).items()}
    own = list(models)[-1]
    data = data_for(models[own], folder, how.data)
    if isinstance(data, Encoded) and data.unread:
        say({"prompts": data.unread})
    counts = {name: sorted(model.sampler.made_for) for name, model in models.items()}
    counts |= {own: list(steps)} if steps else {}
    jobs = [(name, model, count) for name, model in models.items() for count in counts[name]]
    rows = measure_all(jobs, judge_for(data, network, how.cache), how.samples, how.show)
    written = folder / ROWS if folder.is_dir() else Path(f"{folder.name}.{ROWS}")  # beside what is no folder here
    write_rows(written, rows)
    _show(rows, written)


def compare_models(folders: Sequence[Path], out: Path, how: Comparison) -> None:
    """Judge models side by side; write table, pictures and a page."""
    _show(compare(folders, out, how), out / "report.html")


def bench_recipes(plan: Bench) -> None:
    """Run the bench, show its lines, and say what was left out, what failed and what was written."""
    done = bench(plan)
    Console(highlight=False).print(_bench_table(done.results))
    for title, reasons in (("note", done.notes), ("failed", done.failed)):
        for name, reason in reasons.items():
            typer.echo(f"{title}: {name}: {' '.join(reason.split())}", err=title == "failed")
    typer.echo(f"\nWritten: {', '.join(str(path) for path in (plan.docs / RESULTS, *done.written))}.")
    if done.failed:
        raise typer.Exit(1)


def feature_network(name: str) -> nn.Module:
    """Return the network called ``module:attr``: a module, or what a class or function of no arguments returns."""
    place, colon, attribute = name.partition(":")
    try:
        if not colon:
            raise AttributeError("there is no ':' in it")
        found = vars(import_module(place))[attribute]
        network = found if isinstance(found, nn.Module) else found()
    except (ImportError, KeyError, AttributeError, TypeError) as error:
        raise RecipeError(
            f"--features {name} cannot be used: {error}. Accepted is module:attr, where attr is a torch.nn.Module, or "
            "something that returns one when called, and module can be imported from here."
        ) from error
    if not isinstance(network, nn.Module):
        raise RecipeError(f"--features {name} gives {type(network).__name__}; accepted is a torch.nn.Module.")
    return network


def _bench_table(results: Sequence[Result]) -> Table:
    """Return a line per result: mean and spread, and how it stands to the teacher."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for title in ("recipe", "calls", "Fréchet ↓", "of the teacher's", "seconds", "seeds"):
        table.add_column(title, justify="left" if title == "recipe" else "right", no_wrap=True)
    for line in results:
        ratio = "-" if line.ratio_to_teacher is None else f"{line.ratio_to_teacher:.2f}"
        seconds = "-" if line.train_seconds is None else f"{line.train_seconds:.0f}"
        table.add_row(line.recipe, str(line.calls or "-"), distance(line), ratio, seconds, str(line.seeds))
    return table


def _show(rows: list[Row], written: Path) -> None:
    Console(highlight=False).print(rich_table(rows))
    typer.echo(f"\n{headline(rows)}\nThe rows are in {written}.")
