"""What all plots share: ink for light and dark pages, a blank figure, axes of calls and distances, a PNG.

Drawn on ``Figure`` objects, so no state of pyplot is read or left behind.
"""

from io import BytesIO
from math import ceil, floor, log2, log10
from pathlib import Path
from typing import TYPE_CHECKING

from fewstep.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "HAIR", "INK", "blank_figure", "calls_axis", "distance_axis", "look_of", "save_png"]

INK, HAIR = "#7b838c", "#7b838c40"  # readable on white (3.8 : 1) as on near black (4.7 : 1)
COLOURS = ("#8a93a0", "#e8590c", "#1c7ed6", "#2b8a3e", "#ae3ec9", "#c99a06", "#0c8599", "#d6336c")
"""The teacher is grey, as what is to be beaten; the rest take the colours in turn."""

MARKERS = "os^DvP"


def look_of(line: int) -> tuple[str, str]:
    """Return the colour and the marker of a line that is not the teacher's; the first 42 differ in one of the two."""
    turn, place = divmod(line, len(COLOURS) - 1)
    return COLOURS[1 + place], MARKERS[turn % len(MARKERS)]


def blank_figure(lines: int, columns: int, size: tuple[float, float]) -> tuple["Figure", list["Axes"]]:
    """Return a transparent figure of ``size`` inches and its panels, row by row."""
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


def calls_axis(axes: "Axes", calls: list[int]) -> None:
    """Make x a log2 axis of network calls, with a tick where there is room."""
    axes.set_xscale("log", base=2)
    axes.set_xlim(calls[0] / 2**0.35, calls[-1] * 2**0.35)
    shown = [calls[0]]
    for count in calls[1:]:
        if log2(count / shown[-1]) > 0.3 * max(1.0, log2(calls[-1] / calls[0]) / 6):  # closer labels would overlap
            shown.append(count)
    axes.set_xticks(shown, [str(count) for count in shown])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("network calls per item", color=INK, fontsize=9)


def distance_axis(axes: "Axes") -> None:
    """Make y a log axis with round numbers in the range that is drawn."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    steps = (1, 2, 5) if high > 5 * low else (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
    ticks = [step * 10.0**power for power in range(floor(log10(low)), ceil(log10(high)) + 1) for step in steps]
    ticks = [tick for tick in ticks if low <= tick <= high]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks([], minor=True)


def save_png(figure: "Figure", destination: Path | BytesIO) -> None:
    """Write a figure as a PNG, whole or not at all."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    content = BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(content, format="png", dpi=200, transparent=True)
    if isinstance(destination, Path):
        write_whole(destination, content.getvalue())
    else:
        destination.write(content.getvalue())
