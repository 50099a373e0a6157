"""Curves and the report: one file, complete, with everything in it."""

import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import matplotlib
import pytest
import torch
from PIL import Image

from fewstep.errors import DataError
from fewstep.evaluate import Report, Row, Strip, loss_curves, quality_curve, strip, write_report
from fewstep.evaluate.curve import _lines, _running_mean

LOG = {"student/consistency": [(step, 1.0 / step) for step in range(1, 300)], "student/norm": [(1, 2.0)]}


class Resources(HTMLParser):
    """Every src and href of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [value or "" for key, value in attrs if key in ("src", "href", "srcset", "data", "action")]


@pytest.fixture(scope="module")
def report(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("report")
    strip([Strip("Teacher", "35 calls", torch.zeros(3, 1, 8, 8))], folder / "strip.png")
    curve, losses = BytesIO(), BytesIO()
    quality_curve(rows, curve)
    loss_curves(LOG, losses)
    settings, timings = {"seed": "0", "note": "<b>&"}, {"teacher": 65.2, "distil": 3700.0}
    commands = ["fewstep distill digits --steps 1"]
    return Report(
        "Digits", folder / "strip.png", rows, curve.getvalue(), losses.getvalue(), settings, commands, timings
    )


@pytest.fixture
def page(report: Report, tmp_path: Path) -> str:
    write_report(tmp_path / "report.html", report)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_report_loads_nothing_from_outside(page: str):
    resources = Resources(page)
    assert len(resources.found) == 3
    assert all(value.startswith("data:image/png;base64,") for value in resources.found)
    assert not {"script", "link", "iframe"} & set(resources.tags)
    assert not re.search(r"https?://|@import|url\(", page)


def test_report_carries_its_pictures_whole(page: str, report: Report):
    pictures = [b64decode(value.partition(",")[2]) for value in Resources(page).found]
    assert pictures == [report.strip.read_bytes(), report.curve, report.losses]


def test_report_says_the_result_the_settings_and_the_commands(page: str):
    assert "<h1>1 call instead of 35: 47 times faster" in page
    assert "fewstep distill digits --steps 1" in page
    assert "1 min 05 s" in page
    assert "1 h 01 min" in page
    assert torch.__version__ in page


def test_report_marks_the_floor_and_the_best_values(page: str, rows: list[Row]):
    assert page.count('<tr class="floor">') == 1
    assert "<strong>0.0800</strong>" in page
    assert page.count('scope="row"') >= len(rows)


def test_report_escapes_what_it_is_given(page: str):
    assert "<b>&" not in page
    assert "&lt;b&gt;&amp;" in page


def test_report_without_training_curves_has_no_such_section(report: Report, tmp_path: Path):
    write_report(tmp_path / "bare.html", replace(report, losses=None, commands=[], timings={}))
    text = (tmp_path / "bare.html").read_text(encoding="utf-8")
    assert ">Training<" not in text
    assert len(Resources(text).found) == 2


def test_report_works_in_light_and_dark(page: str):
    assert "prefers-color-scheme: dark" in page


def test_quality_curve_has_a_line_per_model_in_order_of_calls(rows: list[Row]):
    assert _lines(rows) == {"teacher": [(1, 3.56), (35, 0.10)], "student": [(1, 0.08)]}


def test_curves_are_pictures_with_content(rows: list[Row], tmp_path: Path):
    quality_curve(rows, tmp_path / "curve.png")
    loss_curves(LOG, tmp_path / "losses.png")
    for name in ("curve.png", "losses.png"):
        with Image.open(tmp_path / name) as image:
            assert len(image.convert("RGBA").getcolors(1 << 24) or []) > 50


def test_quality_curve_draws_a_single_point(rows: list[Row]):
    out = BytesIO()
    quality_curve(rows[-1:], out)
    assert out.getvalue().startswith(b"\x89PNG")


def test_quality_curve_of_many_models_names_them_in_a_legend(rows: list[Row]):
    few, many = BytesIO(), BytesIO()
    quality_curve(rows, few)
    quality_curve([*rows, *(replace(rows[-1], model=f"run ${i}", frechet=0.1 + i) for i in range(12))], many)
    assert many.getvalue() != few.getvalue()


def test_drawing_leaves_the_settings_of_matplotlib_alone(rows: list[Row]):
    before = dict(matplotlib.rcParams)
    quality_curve(rows, BytesIO())
    assert dict(matplotlib.rcParams) == before


def test_values_that_are_not_finite_leave_a_gap():
    out = BytesIO()
    loss_curves({"loss": [(1, 1.0), (2, float("nan")), (3, 0.5)], "gone": [(1, float("inf"))]}, out)
    assert out.getvalue().startswith(b"\x89PNG")


def test_running_mean_keeps_a_straight_line_straight():
    line = [float(i) for i in range(200)]
    assert _running_mean(line)[5:-5] == pytest.approx(line[5:-5])


@pytest.mark.parametrize("draw", [lambda out: quality_curve([], out), lambda out: loss_curves({}, out)])
def test_curve_of_nothing_is_refused(draw):
    with pytest.raises(DataError, match="at least one"):
        draw(BytesIO())
