"""``fewstep recipes``, ``cite`` and ``check``: what there is, whom it is from, and what was understood."""

import typer
from rich.console import Console
from rich.table import Table

from fewstep.cli.words import say
from fewstep.jobs.check import check
from fewstep.jobs.listing import listing
from fewstep.recipes import cite, load_recipe

__all__ = ["print_check", "print_recipes", "print_sources"]


def print_recipes() -> None:
    """Print a table of the recipes."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for title in ("recipe", "purpose", "source", "teacher", "measured"):
        table.add_column(title, no_wrap=title == "recipe")
    for line in listing():
        table.add_row(line.name, line.purpose, line.source, "needed" if line.teacher else "-", line.measured)
    Console(highlight=False).print(table)
    typer.echo("\nMeasured: Fréchet distance at so many calls, on digits. `fewstep check RECIPE` says more about one.")


def print_sources(recipe: str) -> None:
    """Print the BibTeX of everything that a recipe uses."""
    typer.echo(cite(load_recipe(recipe)))


def print_check(what: str, size: int | None, channels: int | None) -> None:
    """Print what a recipe, data or a run amount to."""
    say(check(what, size, channels))
