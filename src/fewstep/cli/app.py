"""The command ``fewstep`` itself: how it answers, its version, its exit code."""

import os
import sys
from typing import Annotated

import typer

__all__ = ["app", "main"]

app = typer.Typer(
    help="Turn any slow multi-step generator into one that needs 1 to 8 network calls.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> bool:
    if wanted:
        from fewstep.versions import versions

        found = versions()
        typer.echo(f"fewstep {found['fewstep']} (python {found['python']}, torch {found['torch']})")
        raise typer.Exit
    return wanted


@app.callback()
def fewstep(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print versions and exit.")
    ] = False,
) -> None:
    """Turn any slow multi-step generator into one that needs 1 to 8 network calls."""


def main() -> None:
    """Run the command that was typed, and leave with its exit code: 0, 1 failed, 2 not understood, 130 interrupted."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # so that recipes and --features find modules of the person's own
    app(prog_name="fewstep")
