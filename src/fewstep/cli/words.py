"""How a command speaks: answers in columns, and every end that is not a success in one paragraph."""

import errno
import shlex
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, ParamSpec

import typer

from fewstep.errors import FewstepError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["answered", "cache_folder", "say", "typed", "wide_console"]

P = ParamSpec("P")

FAILED, INTERRUPTED = 1, 130  # exit codes; 2 is a command that was not understood
WIDTH = 120  # characters, where no terminal says how wide it is


def say(words: Mapping[str, str]) -> None:
    """Print one line per topic, the topics in a column."""
    width = max(map(len, words), default=0)
    for topic, text in words.items():
        typer.echo(f"{typer.style(f'{topic:<{width}}', dim=True)}  {text}")


def wide_console() -> "Console":
    """Return a console for tables, as wide as the terminal is, or wide enough where there is none."""
    from rich.console import Console  # late: most commands print no table

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)


def typed() -> str:
    """Return the command as it was typed."""
    return shlex.join(["fewstep", *sys.argv[1:]])


def cache_folder() -> Path:
    """Return where networks that judge are kept: ``$XDG_CACHE_HOME/fewstep``, by default ``~/.cache/fewstep``."""
    from fewstep.files import CACHE  # late, as all imports of commands

    return CACHE


def answered(command: Callable[P, None]) -> Callable[P, None]:
    """Let a command end in words: no traceback for what fewstep raises on purpose, a full disk, or Ctrl-C."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except FewstepError as error:
            _stop(str(error), FAILED)
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of a pipe has seen enough; typer ends quietly
                raise
            _stop(_of_the_system(error), FAILED)
        except KeyboardInterrupt:
            _stop(f"Stopped. What was saved is kept; to continue, give the same command: {typed()}", INTERRUPTED)

    return run


def _of_the_system(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"The disk is full{where}. What was saved before is untouched. Make room, then give the same command."
    return f"The system refused: {error.strerror or error}{where}. Mend that, then give the same command again."


def _stop(message: str, code: int) -> NoReturn:
    """Print a message as one paragraph to stderr and leave."""
    typer.echo(f"{typer.style('fewstep:', fg='red', bold=True)} {' '.join(message.split())}", err=True)
    raise typer.Exit(code)
