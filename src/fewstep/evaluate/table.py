"""The results table: which columns there are, what they mean, which value is best; as Markdown and for a terminal."""

from collections.abc import Callable
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from fewstep.evaluate.rows import Row

__all__ = ["COLUMNS", "Column", "best", "cells", "columns_of", "markdown", "name", "rich_table"]

Value = Callable[[Row], float | int | None]
Badness = Callable[[float, float | None], float | None]  # of a value, given what real data get


@dataclass(frozen=True)
class Column:
    """One column: its heading, the number it shows, how it is written, how bad a value is, and what it means.

    ``badness`` takes a value and that of the real data and returns a number that is smallest for the best value, or
    ``None`` when no value is better than another. ``brief`` columns are those shown where there is little room.
    """

    title: str
    value: Value
    form: str
    badness: Badness
    meaning: str
    brief: bool = False

    def text(self, row: Row) -> str:
        """The number as shown, a dash for none."""
        value = self.value(row)
        return "-" if value is None else format(value, self.form)


def _neither(value: float, real: float | None) -> float | None:
    return None


def _lower(value: float, real: float | None) -> float | None:
    return value


def _higher(value: float, real: float | None) -> float | None:
    return -value


def _above_zero(value: float, real: float | None) -> float | None:
    return max(value, 0.0)


def _nearest(value: float, real: float | None) -> float | None:
    return None if real is None else abs(value - real)


def _thousandfold(value: float | None) -> float | None:
    return None if value is None else 1000 * value


COLUMNS = (
    Column("steps", lambda row: row.steps, "d", _neither, "Sampling steps per image."),
    Column(
        "calls",
        lambda row: row.calls,
        "d",
        _neither,
        "Network calls per image, the cost of a sampler: a second-order step makes two, guidance may double it.",
        brief=True,
    ),
    Column(
        "Fréchet ↓",
        lambda row: row.frechet,
        "#.3g",
        _lower,
        "Fréchet distance of the features of generated and real images: realism and variety in one number. Lower is "
        "better. Features are those of this report's own network: do not compare with Inception FID, nor across data "
        "sets. Biased upwards when samples are few, so compare equal sample counts only.",
        brief=True,
    ),
    Column(
        "kernel x1000 ↓",
        lambda row: _thousandfold(row.kernel),
        ".2f",
        _above_zero,
        "Kernel distance (KID), the same question without that bias. Lower is better; around 0, slightly negative "
        "included, means no difference was seen.",
    ),
    Column(
        "precision ↑",
        lambda row: row.precision,
        ".3f",
        _higher,
        "Share of generated images that lie among real ones. Higher is better. Real data reach less than 1 as well.",
        brief=True,
    ),
    Column(
        "recall ↑",
        lambda row: row.recall,
        ".3f",
        _higher,
        "Share of real images that lie among generated ones: what the model can still make. Higher is better; the "
        "first number to fall when variety is lost.",
        brief=True,
    ),
    Column(
        "diversity",
        lambda row: row.diversity,
        "#.3g",
        _nearest,
        "Mean distance between images of one condition. Best when near the value of real data: less is repetition, "
        "more is often noise.",
    ),
    Column(
        "Vendi",
        lambda row: row.vendi,
        "#.3g",
        _nearest,
        "Effective number of directions in which the images differ. Best when near the value of real data.",
    ),
    Column(
        "accuracy ↑",
        lambda row: row.accuracy,
        ".3f",
        _higher,
        "Share of images that a classifier recognises as the class asked for; of sounds, share with the pitch asked "
        "for, heard without a network; of shapes, share in which all that the caption says is right, seen without a "
        "network. Higher is better.",
        brief=True,
    ),
    Column(
        "loudness error ↓",
        lambda row: row.loudness_error,
        "#.3g",
        _lower,
        "How far sounds are from the loudness asked for, in dB, on average. Lower is better.",
    ),
    Column(
        "ms / image ↓",
        lambda row: _thousandfold(row.seconds_per_image),
        "#.3g",
        _lower,
        "Milliseconds per image on the machine of this run, in its batch size. Lower is better.",
        brief=True,
    ),
    Column("samples", lambda row: row.samples, "d", _neither, "Images behind the numbers of the row."),
)


def columns_of(rows: list[Row]) -> list[Column]:
    """The columns in which at least one row has a number."""
    return [column for column in COLUMNS if any(column.value(row) is not None for row in rows)]


def best(column: Column, rows: list[Row]) -> frozenset[str]:
    """The texts of the best values among the models, real data left out; empty when there is nothing to choose from."""
    floor = next((column.value(row) for row in rows if row.model == "real"), None)
    real = None if floor is None else float(floor)
    known = [(column.value(row), column.text(row)) for row in rows if row.model != "real"]
    rated = [(column.badness(float(value), real), text) for value, text in known if value is not None]
    ranked = [(bad, text) for bad, text in rated if bad is not None]
    least = min((bad for bad, _ in ranked), default=None)
    return frozenset(text for bad, text in ranked if bad == least) if len(ranked) > 1 else frozenset()


def name(row: Row) -> str:
    """Model and label of a row, the floor in words."""
    said = "real data (floor)" if row.model == "real" else row.model
    return f"{said}, {row.label}" if row.label else said


def cells(column: Column, rows: list[Row]) -> list[tuple[str, bool]]:
    """A column from top to bottom: what each row shows, and whether that is the best value."""
    tops = best(column, rows)
    return [(column.text(row), row.model != "real" and column.text(row) in tops) for row in rows]


def markdown(rows: list[Row]) -> str:
    """The rows as a Markdown table, the best value of every column in bold."""
    columns = columns_of(rows)
    names = [name(row).replace("|", "\\|") for row in rows]
    shown = [[f"**{text}**" if top else text for text, top in cells(column, rows)] for column in columns]
    lines = ["| model | " + " | ".join(column.title for column in columns) + " |", "|---|" + "---:|" * len(columns)]
    lines += ["| " + " | ".join(line) + " |" for line in zip(names, *shown, strict=True)]
    return "\n".join(lines) + "\n"


def rich_table(rows: list[Row], title: str = "", full: bool = False) -> Table:
    """The rows as a table for a terminal: the best value of every column bold, the floor dim.

    Shows the brief columns, which fit into 80 characters; ``full`` shows them all, which takes about 120.
    """
    columns = [column for column in columns_of(rows) if column.brief or full]
    table = Table(title=title or None, title_justify="left", box=None, header_style="dim", pad_edge=False)
    table.add_column("model", no_wrap=True)
    for column in columns:
        table.add_column(column.title, justify="right")
    shown = [[Text(text, "bold green" if top else "") for text, top in cells(column, rows)] for column in columns]
    for row, *line in zip(rows, *shown, strict=True):
        table.add_row(Text(name(row)), *line, style="dim" if row.model == "real" else "")
    return table
