"""``fewstep watch``: how runs go, in the terminal."""

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fewstep.cli.words import wide_console
from fewstep.jobs.watch import Seen, Series, State, see, sparkline

__all__ = ["watch"]

LOOKS = 3  # that are shown, the last ones
COLOURS = {State.FINISHED: "green", State.TRAINING: "cyan", State.ILL: "red"}


def watch(runs: Sequence[Path], once: bool, every: float) -> None:
    """Show runs until none of them trains any more, or once."""
    console = wide_console()
    if once:
        console.print(_runs(runs)[0])
        return
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:
        over = False
        while not over:
            shown, over = _runs(runs)
            live.update(shown, refresh=True)
            time.sleep(0 if over else every)


def _runs(runs: Sequence[Path]) -> tuple[Group, bool]:
    """Return all runs, and whether nothing more will come of any."""
    seen = [see(run) for run in runs]
    return Group(*(part for each in seen for part in _run(each))), all(each.over for each in seen)


def _run(seen: Seen) -> list[Text | Table]:
    parts: list[Text | Table] = [_title(seen)]
    if seen.diagnosis:
        parts.append(Text(seen.diagnosis, style="red"))
    if seen.looks:
        parts.append(_looks(seen))
    if seen.series:
        parts.append(_series(seen.series))
    return [*parts, Text()]


def _title(seen: Seen) -> Text:
    text = Text(seen.name, style="bold") + Text(f"  {seen.state}", style=COLOURS.get(seen.state, "yellow"))
    life = seen.life
    if life is not None:
        text.append(f"  {life.step:,} of {life.steps:,} batches ({life.step / max(life.steps, 1):.0%})")
        text.append(f", {life.rate:.3g} a second, {_duration(life.seconds)} so far")
        if seen.state is State.TRAINING and life.left is not None:
            text.append(f", {_duration(life.left)} left")
    return text


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _looks(seen: Seen) -> Table:
    """The last looks, a line each; of all single conditions only the poorest."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("look at batch")
    best = min(seen.looks, key=lambda step: seen.looks[step]["score"])
    shown = sorted({*sorted(seen.looks)[-LOOKS:], best})
    titles = list(seen.looks[shown[-1]])
    for title in titles:
        table.add_column(title, justify="right")
    table.add_column("lost most in")
    for step in shown:
        look = seen.looks[step]
        cells = [f"{look[title]:.3g}" if title in look else "-" for title in titles]
        table.add_row(f"{step:,}{' best' if step == best else ''}", *cells, _poorest(seen.conditions[step]))
    return table


def _poorest(ratios: Mapping[str, float]) -> str:
    if not ratios:
        return "-"
    name = min(ratios, key=lambda each: ratios[each])
    return f"{name} ({ratios[name]:.2f})"


def _series(series: Sequence[Series]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for title in ("", "good", "now", "from the beginning to now"):
        table.add_column(title, justify="right" if title == "now" else "left")
    for each in series:
        table.add_row(each.name, each.arrow, f"{each.values[-1]:.4g}", sparkline(each.values))
    return table
