"""Progress bars with the time that is left."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["Bar", "bar", "console"]

console = Console(stderr=True)


class Bar(Protocol):
    """Moves a bar."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Show ``done`` of ``total``, and a note beside the time that is left."""


@contextmanager
def bar(title: str, show: bool = True) -> Iterator[Bar]:
    """Yield a function that moves a bar; draws nothing when ``show`` is false."""
    columns = (
        TextColumn("[bold]{task.description:<28}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    pace = 3600.0  # seconds that the time left is judged by; rich's 30 forget a step that takes longer
    with Progress(*columns, console=console, disable=not show, speed_estimate_period=pace) as progress:
        task = progress.add_task(title, total=None, note="")

        def move(done: int, total: int, note: str = "") -> None:
            progress.update(task, completed=done, total=total, note=note)

        yield move
