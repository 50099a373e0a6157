"""Curves: quality against cost, and the training curves. Grey ink on a transparent ground, for light and dark pages."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import accumulate, count
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from fewstep.errors import DataError
from fewstep.evaluate.ink import COLOURS, INK, blank_figure, calls_axis, distance_axis, look_of, save_png
from fewstep.evaluate.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["loss_curves", "quality_curve"]


def quality_curve(rows: list[Row], destination: Path | BytesIO) -> None:
    """Draw the Frechet distance (log) against network calls (log2) as a PNG: a line per model, the floor dotted.

    Rows without calls or distance are left out. Raises ``DataError`` when no row is left.
    """
    lines = _lines(rows)
    if not lines:
        raise DataError("A quality curve needs at least one model with a number of calls and a Frechet distance.")
    figure, (axes,) = blank_figure(1, 1, (6.8, 3.9))
    looks = map(look_of, count())
    for model, points in lines.items():
        _line(axes, model, points, *((COLOURS[0], "o") if model == "teacher" else next(looks)))
    _names(axes, lines)
    _floor_line(axes, rows)
    axes.margins(y=0.14)  # room for the names
    calls_axis(axes, sorted({calls for points in lines.values() for calls, _ in points}))
    distance_axis(axes)
    axes.set_title("Fréchet distance (lower is better)", loc="left", color=INK, fontsize=10, pad=12)
    save_png(figure, destination)


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
    figure, panels = blank_figure(lines, columns, (6.8 * max(columns, 2) / 3 + 0.2, 1.85 * lines + 0.1))
    for axes, (name, points) in zip(panels, series.items(), strict=False):
        _panel(axes, name, points)
    for axes in panels[len(series) :]:
        axes.set_axis_off()
    save_png(figure, destination)


def _lines(rows: list[Row]) -> dict[str, list[tuple[int, float]]]:
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row.model != "real" and row.calls and row.frechet:  # neither 0 nor None has a place on a log axis
            lines.setdefault(row.model, []).append((row.calls, row.frechet))
    return {model: sorted(points) for model, points in lines.items()}


def _line(axes: "Axes", model: str, points: list[tuple[int, float]], colour: str, marker: str) -> None:
    calls, distances = zip(*points, strict=True)
    (line,) = axes.plot(calls, distances, color=colour, label=model, marker=marker)
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
