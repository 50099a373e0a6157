"""Curves: quality against cost, and the training curves. Grey ink on a transparent ground, for light and dark pages.

Drawn on ``Figure`` objects, so no state of pyplot is read or left behind.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import accumulate
from math import ceil, floor, isfinite, log2, log10
from pathlib import Path
from typing import TYPE_CHECKING

from fewstep.errors import DataError
from fewstep.evaluate.rows import Row
from fewstep.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["loss_curves", "quality_curve"]

INK, HAIR = "#7b838c", "#7b838c40"  # readable on white (3.8 : 1) as on near black (4.7 : 1)
COLOURS = ("#8a93a0", "#e8590c", "#1c7ed6", "#2b8a3e", "#ae3ec9", "#c99a06", "#0c8599", "#d6336c")
"""The teacher is grey, as what is to be beaten; the rest take the colours in turn."""


def quality_curve(rows: list[Row], destination: Path | BytesIO) -> None:
    """Draw the Frechet distance (log) against network calls (log2) as a PNG: a line per model, the floor dotted.

    Rows without calls or distance are left out. Raises ``DataError`` when no row is left.
    """
    lines = _lines(rows)
    if not lines:
        raise DataError("A quality curve needs at least one model with a number of calls and a Frechet distance.")
    figure, (axes,) = _figure(1, 1, (6.8, 3.9))
    colours = iter(COLOURS[1:] * len(lines))
    for model, points in lines.items():
        _line(axes, model, points, COLOURS[0] if model == "teacher" else next(colours))
    _names(axes, lines)
    _floor_line(axes, rows)
    axes.margins(y=0.14)  # room for the names
    _calls_axis(axes, sorted({calls for points in lines.values() for calls, _ in points}))
    _distance_axis(axes)
    axes.set_title("Fréchet distance (lower is better)", loc="left", color=INK, fontsize=10, pad=12)
    _save(figure, destination)


def loss_curves(log: Mapping[str, Sequence[tuple[int, float]]], destination: Path | BytesIO, columns: int = 3) -> None:
    """Draw every series of (update, value) in a panel of its own as a PNG: faint as logged, strong as a running mean.

    Positive series that span more than two decades get a log axis; values that are not finite are left out. Raises
    ``DataError`` when no finite value is left.
    """
    series = {name: [(step, value) for step, value in points if isfinite(value)] for name, points in log.items()}
    series = {name: points for name, points in series.items() if points}
    if not series:
        raise DataError("Training curves need at least one logged value that is finite.")
    columns = min(columns, len(series))
    lines = -(-len(series) // columns)
    figure, panels = _figure(lines, columns, (6.8 * max(columns, 2) / 3 + 0.2, 1.85 * lines + 0.1))
    for axes, (name, points) in zip(panels, series.items(), strict=False):
        _panel(axes, name, points)
    for axes in panels[len(series) :]:
        axes.set_axis_off()
    _save(figure, destination)


def _lines(rows: list[Row]) -> dict[str, list[tuple[int, float]]]:
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row.model != "real" and row.calls and row.frechet:  # neither 0 nor None has a place on a log axis
            lines.setdefault(row.model, []).append((row.calls, row.frechet))
    return {model: sorted(points) for model, points in lines.items()}


def _figure(lines: int, columns: int, size: tuple[float, float]) -> tuple["Figure", list["Axes"]]:
    from matplotlib.figure import Figure  # here, so that measuring needs no drawing library

    figure = Figure(figsize=size, layout="constrained")
    panels = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes in panels:
        axes.set_facecolor("none")
        axes.grid(axis="y", color=HAIR, linewidth=0.6)
        axes.tick_params(which="both", colors=INK, labelsize=8, length=0)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(HAIR)
    return figure, panels


def _line(axes: "Axes", model: str, points: list[tuple[int, float]], colour: str) -> None:
    calls, distances = zip(*points, strict=True)
    (line,) = axes.plot(calls, distances, color=colour, label=model, marker="o")
    line.set(linewidth=2, markersize=5.5, markeredgewidth=0, zorder=3)


def _names(axes: "Axes", lines: dict[str, list[tuple[int, float]]]) -> None:
    if len(lines) > 2:  # names at the lines would cover each other
        legend = axes.legend(frameon=False, labelcolor="linecolor", fontsize=9.5)
        for text in legend.get_texts():
            text.set_parse_math(False)
        return
    for line, (model, points) in zip(axes.get_lines(), lines.items(), strict=True):
        words = axes.annotate(model, points[0], xytext=(0, 8), textcoords="offset points", parse_math=False)
        words.set(color=line.get_color(), fontsize=9.5, fontweight="bold")


def _floor_line(axes: "Axes", rows: list[Row]) -> None:
    best = next((row.frechet for row in rows if row.model == "real"), None)
    if not best:
        return
    axes.axhline(best, color=INK, linestyle=(0, (1, 2)), linewidth=1.4, zorder=2)
    axes.annotate(
        "real data against itself",
        (1, best),
        xycoords=("axes fraction", "data"),
        xytext=(0, -4),
        textcoords="offset points",
        color=INK,
        fontsize=8,
        ha="right",
        va="top",
    )


def _calls_axis(axes: "Axes", calls: list[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xlim(calls[0] / 2**0.35, calls[-1] * 2**0.35)
    shown = [calls[0]]
    for count in calls[1:]:
        if log2(count / shown[-1]) > 0.3 * max(1.0, log2(calls[-1] / calls[0]) / 6):  # closer labels would overlap
            shown.append(count)
    axes.set_xticks(shown, [str(count) for count in shown])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("network calls per image", color=INK, fontsize=9)


def _distance_axis(axes: "Axes") -> None:
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    steps = (1, 2, 5) if high > 5 * low else (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
    ticks = [step * 10.0**power for power in range(floor(log10(low)), ceil(log10(high)) + 1) for step in steps]
    ticks = [tick for tick in ticks if low <= tick <= high]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks([], minor=True)


def _panel(axes: "Axes", name: str, points: list[tuple[int, float]]) -> None:
    steps, values = [step for step, _ in points], [value for _, value in points]
    if min(values) > 0 and max(values) > 100 * min(values):
        axes.set_yscale("log")
    axes.plot(steps, values, color=COLOURS[2], linewidth=0.8, alpha=0.3)
    axes.plot(steps, _running_mean(values), color=COLOURS[2], linewidth=1.6)
    axes.set_title(name, loc="left", color=INK, fontsize=8.5, parse_math=False)
    axes.locator_params(axis="x", nbins=4)


def _running_mean(values: list[float]) -> list[float]:
    reach = len(values) // 40  # to both sides, about a twentieth of the run in all
    sums = list(accumulate(values, initial=0.0))
    ends = [(max(0, i - reach), min(len(values), i + reach + 1)) for i in range(len(values))]
    return [(sums[last] - sums[first]) / (last - first) for first, last in ends]


def _save(figure: "Figure", destination: Path | BytesIO) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    content = BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(content, format="png", dpi=200, transparent=True)
    if isinstance(destination, Path):
        write_whole(destination, content.getvalue())
    else:
        destination.write(content.getvalue())
