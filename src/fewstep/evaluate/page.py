"""The report: one HTML file that needs no network, no script and no second file."""

from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from fewstep.evaluate.headline import headline
from fewstep.evaluate.listening import Listening, players
from fewstep.evaluate.rows import Row
from fewstep.evaluate.table import cells, columns_of, name
from fewstep.files import write_whole
from fewstep.versions import versions as installed

__all__ = ["Report", "write_report"]


@dataclass(frozen=True)
class Report:
    """What a report shows: the strip as a PNG file, the measured rows, the curves as PNG bytes, and how it was made.

    Sounds have no strip but ``listening``: players in its place.  ``settings`` holds the seed among the rest,
    ``timings`` the seconds of each stage in order.
    """

    title: str
    strip: Path | None
    rows: list[Row]
    curve: bytes
    losses: bytes | None
    settings: dict[str, str]
    commands: list[str]
    timings: dict[str, float]
    versions: dict[str, str] = field(default_factory=installed)
    listening: Listening | None = None


def write_report(path: Path, report: Report) -> None:
    """Write the report as one self-contained HTML file."""
    environment = Environment(
        loader=PackageLoader("fewstep.evaluate"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    columns = columns_of(report.rows)
    page = environment.get_template("report.html.j2").render(
        report=report,
        headline=headline(report.rows),
        columns=[column.title for column in columns],
        meanings={column.title: column.meaning for column in columns},
        lines=_lines(report.rows),
        stages=_stages(report.timings),
        strip=_picture(report.strip.read_bytes()) if report.strip else None,
        players=players(report.listening) if report.listening else [],
        curve=_picture(report.curve),
        losses=_picture(report.losses) if report.losses else None,
    )
    write_whole(path, page.encode())


def _lines(rows: list[Row]) -> list[tuple[str, bool, list[tuple[str, bool]]]]:
    """Per row: its name, whether it is the floor, and per column the text and whether it is the best one."""
    shown = zip(*(cells(column, rows) for column in columns_of(rows)), strict=True)
    return [(name(row), row.model == "real", list(line)) for row, line in zip(rows, shown, strict=True)]


def _stages(timings: dict[str, float]) -> list[tuple[str, str, float]]:
    """Per stage: its name, its duration in words, its share of the longest in percent."""
    longest = max(timings.values(), default=0) or 1.0
    return [(stage, _duration(seconds), 100 * seconds / longest) for stage, seconds in timings.items()]


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _picture(png: bytes) -> str:
    return "data:image/png;base64," + b64encode(png).decode()
