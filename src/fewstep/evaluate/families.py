"""Quality against calls for many recipes: a panel per family on shared axes, names at the ends of the lines."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from math import inf, log10
from pathlib import Path
from typing import TYPE_CHECKING

from fewstep.errors import DataError
from fewstep.evaluate.ink import COLOURS, INK, blank_figure, calls_axis, distance_axis, look_of, save_png
from fewstep.evaluate.results import REAL, TEACHER, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["family_curves", "spaced"]

COLUMNS = 3
WIDTH, HEIGHT = 3.1, 2.7  # inches of a panel
PLOT_POINTS, LINE_POINTS = 140.0, 9.5  # height of the drawn part of a panel, and of a name in it
NAMES_FROM, NAMES_TO = 2**0.35, 2**1.9  # times the most calls: where the names begin, and how far they reach

Lines = Mapping[str, Sequence[Result]]


def family_curves(results: Sequence[Result], families: Mapping[str, str], destination: Path | BytesIO) -> None:
    """Draw the Frechet distance (log) of one data set against network calls (log2) as a PNG.

    ``families`` maps each recipe to its panel; the teacher with all its calls and the floor are horizontal lines,
    the teacher with few calls a dashed one.  Bars are one standard deviation over seeds to both sides.
    Raises ``DataError`` when there is no recipe to draw.
    """
    panels = _panels(results, families)
    if not panels:
        raise DataError("A plot by family needs at least one recipe with a distance above 0.")
    few = [line.calls or 1 for lines in panels.values() for each in lines.values() for line in each]
    calls, columns = sorted(set(few)), min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure, places = blank_figure(rows, columns, (WIDTH * columns, HEIGHT * rows))
    low, high = _range(results)
    for i, axes in enumerate(places):
        axes.set_axis_off() if i >= len(panels) else axes.set_ylim(low, high)
    for axes, (family, lines) in zip(places, panels.items(), strict=False):
        _references(axes, results, calls[-1], named=axes is places[0])
        _family(axes, lines, calls[-1], (log10(low), log10(high)))
        _finish(axes, family, calls)
    title = "Fréchet distance, by family" if columns == 1 else "Fréchet distance (lower is better), by family"
    figure.suptitle(title, x=0.02, ha="left", color=INK, fontsize=10)
    save_png(figure, destination)


def spaced(places: Sequence[float], gap: float, low: float = -inf, high: float = inf) -> list[float]:
    """Return the rising places nearest to the given rising ones, in squares, that are at least ``gap`` apart.

    None is below ``low``, and none above ``high`` where they all have room.  Neighbours that are too close become
    blocks around their common mean (pool adjacent violators).
    """
    blocks: list[list[float]] = []
    for i, place in enumerate(places):
        blocks.append([place - i * gap])
        while len(blocks) > 1 and _mean(blocks[-2]) > _mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    last = high - (len(places) - 1) * gap
    level = [max(min(_mean(block), last), low) for block in blocks for _ in block]
    return [place + i * gap for i, place in enumerate(level)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _panels(results: Sequence[Result], families: Mapping[str, str]) -> dict[str, Lines]:
    """Return the lines of each recipe by family, both in alphabetical order."""
    panels: dict[str, dict[str, list[Result]]] = {}
    for line in sorted(results, key=lambda line: (families.get(line.recipe, "other"), line.recipe, line.calls or 0)):
        if line.recipe not in (REAL, TEACHER) and line.calls and line.frechet > 0:
            panels.setdefault(families.get(line.recipe, "other"), {}).setdefault(line.recipe, []).append(line)
    return dict(panels)


def _range(results: Sequence[Result]) -> tuple[float, float]:
    """Return the ends of the axis of distances, with a margin of a twelfth of its decades."""
    shown = [line.frechet for line in results if line.frechet > 0]
    decades = max(log10(max(shown) / min(shown)), 0.3)
    return min(shown) / 10 ** (decades / 12), max(shown) * 10 ** (decades / 12)


def _references(axes: "Axes", results: Sequence[Result], most: int, named: bool) -> None:
    """Draw the floor, and the teacher with all and with few calls; name them in one panel, as they are in all."""
    teacher = [line for line in results if line.recipe == TEACHER and line.calls]
    whole = max(teacher, key=lambda line: line.calls or 0, default=None)
    for line in results:
        if line.recipe == REAL:
            _level(axes, line.frechet, "real against real" if named else "", (0, (1, 2)))
        elif line is whole and (line.calls or 0) > most:
            _level(axes, line.frechet, f"teacher, {line.calls} calls" if named else "", "-")
    few = [line for line in teacher if (line.calls or 0) <= most]
    if few:
        places, distances = [float(line.calls or 1) for line in few], [line.frechet for line in few]
        axes.plot(places, distances, color=COLOURS[0], linestyle="--", linewidth=1.3, zorder=2)
        _word(axes, "teacher, cut" if named else "", (places[0], distances[0]), COLOURS[0])


def _level(axes: "Axes", distance: float, name: str, style: str | tuple[int, tuple[int, int]]) -> None:
    axes.axhline(distance, color=INK, linestyle=style, linewidth=1.0, zorder=1)
    _word(axes, name, (1.0, distance), INK)


def _word(axes: "Axes", text: str, at: tuple[float, float], colour: str) -> None:
    words = axes.annotate(text, at, xytext=(-4, 2), textcoords="offset points", parse_math=False)
    words.set(color=colour, fontsize=6.5)


def _family(axes: "Axes", lines: Lines, most: int, axis: tuple[float, float]) -> None:
    """Draw a line per recipe, and its name at the right, apart from the other names."""
    ends = sorted(lines, key=lambda name: lines[name][-1].frechet)
    low, high = axis
    gap = (high - low) * LINE_POINTS / PLOT_POINTS
    places = spaced([log10(lines[name][-1].frechet) for name in ends], gap, low + gap / 2, high - gap / 2)
    heights = dict(zip(ends, places, strict=True))
    for i, (name, results) in enumerate(lines.items()):
        colour, marker = look_of(i)
        calls, distances = [line.calls or 1 for line in results], [line.frechet for line in results]
        bars = [
            [min(line.spread or 0.0, 0.9 * line.frechet) for line in results],
            [line.spread or 0 for line in results],
        ]
        axes.errorbar(calls, distances, yerr=bars, color=colour, marker=marker, markersize=3.5, linewidth=1.4, zorder=3)
        height = 10 ** heights[name]
        leader = ([calls[-1], most * NAMES_FROM], [distances[-1], height])
        axes.plot(*leader, color=colour, linewidth=0.5, alpha=0.6, marker=marker, markersize=3.5, markevery=[1])
        words = axes.annotate(name, (most * NAMES_FROM, height), xytext=(4, 0), textcoords="offset points")
        words.set(color=colour, fontsize=7.5, va="center", parse_math=False)


def _finish(axes: "Axes", family: str, calls: list[int]) -> None:
    calls_axis(axes, calls)
    axes.set_xlim(calls[0] / 2**0.35, calls[-1] * NAMES_TO)
    distance_axis(axes)
    axes.set_title(family, loc="left", color=INK, fontsize=9, parse_math=False)
