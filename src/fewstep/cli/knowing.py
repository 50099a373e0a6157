"""``fewstep recipes``, ``cite`` and ``check``: what there is, whom it is from, and what was understood."""

from itertools import groupby

import typer
from rich.table import Table
from rich.text import Text

from fewstep.cli.words import say, wide_console
from fewstep.jobs.check import check
from fewstep.jobs.listing import Listed, listing
from fewstep.recipes import cite, load_recipe

__all__ = ["print_check", "print_recipes", "print_sources"]

CALLS = (1, 2, 4, 8)
LEGEND = """\
at 1, 2, 4, 8: measured Fréchet distance at so many network calls, on digits unless `needs` names other data; best: the
calls with the lowest; endpoint: where one call can lead to (0: to the data). `fewstep check RECIPE` says what a recipe
is for, and docs/choose.md gives advice."""


def print_recipes(family: str = "") -> None:
    """Print the recipes by family: what they can do and need, and what was measured."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for title in ("recipe", "endpoint", "needs", "best", *(f"at {calls}" for calls in CALLS), "training"):
        table.add_column(title, justify="left" if title in ("recipe", "endpoint", "needs") else "right")
    for name, group in groupby(listing(family), key=lambda line: line.family):
        if table.row_count:
            table.add_row()
        table.add_row(Text(name, style="bold"))
        for line in group:
            table.add_row(*_cells(line))
    wide_console().print(table)
    typer.echo(f"\n{LEGEND}")


def _cells(line: Listed) -> list[str]:
    """Return what a line shows."""
    measured = [f"{line.frechet[calls]:#.3g}" if calls in line.frechet else "-" for calls in CALLS]
    seconds = "-" if line.seconds is None else f"{line.seconds:.0f} s"
    return [line.name, line.reach, line.needs, str(line.best or "-"), *measured, seconds]


def print_sources(recipe: str) -> None:
    """Print the BibTeX of everything that a recipe uses."""
    typer.echo(cite(load_recipe(recipe)))


def print_check(what: str, size: int | None, channels: int | None) -> None:
    """Print what a recipe, data or a run amount to."""
    say(check(what, size, channels))
