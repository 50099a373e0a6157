"""Rows in files and in tables."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from fewstep.errors import DataError, FewstepError
from fewstep.evaluate import Row, headline, markdown, read_rows, rich_table, write_rows


def test_rows_survive_a_round_trip(rows: list[Row], tmp_path: Path):
    write_rows(tmp_path / "deep" / "rows.json", rows)
    assert read_rows(tmp_path / "deep" / "rows.json") == rows


def test_number_that_json_does_not_know_is_refused(rows: list[Row], tmp_path: Path):
    with pytest.raises(DataError, match="not finite"):
        write_rows(tmp_path / "rows.json", [replace(rows[0], frechet=float("nan"))])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", "[1]", '[{"model": "real"}]', '[{"model": "real", "colour": 1}]'])
def test_file_of_anything_else_is_refused(content: str, tmp_path: Path):
    (tmp_path / "rows.json").write_text(content)
    with pytest.raises(DataError, match=r"rows\.json"):
        read_rows(tmp_path / "rows.json")


def test_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"rows\.json"):
        read_rows(tmp_path / "rows.json")


def test_interrupted_write_leaves_the_old_rows(rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "rows.json"
    write_rows(path, rows)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(FewstepError, match="disk full"):
        write_rows(path, rows[:1])
    assert read_rows(path) == rows
    assert list(tmp_path.iterdir()) == [path]


def test_markdown_has_a_line_per_row_and_marks_the_best(rows: list[Row]):
    lines = markdown(rows).splitlines()
    assert len(lines) == 2 + len(rows)
    assert len({line.count("|") for line in lines}) == 1
    assert "**0.0800**" in lines[-1]
    assert "**" not in lines[2]  # the floor does not compete


def test_value_nearest_to_real_data_is_the_best_diversity(rows: list[Row]):
    assert "**2.19**" in markdown(rows)


def test_kernel_distances_below_0_are_equally_good(rows: list[Row]):
    text = markdown([*rows, replace(rows[-1], kernel=-0.001)])
    assert "**-4.00**" in text
    assert "**-1.00**" in text


def test_column_without_numbers_is_left_out(rows: list[Row]):
    assert "accuracy" not in markdown([replace(row, accuracy=None) for row in rows])


def test_name_with_a_pipe_does_not_break_the_table(rows: list[Row]):
    assert r"a\|b" in markdown([replace(rows[1], model="a|b")])


def test_terminal_table_fits_into_80_characters(rows: list[Row]):
    out = StringIO()
    Console(file=out, width=80).print(rich_table(rows))
    assert "…" not in out.getvalue()
    assert "real data (floor)" in out.getvalue()
    assert "teacher, Heun" in out.getvalue()


def test_full_terminal_table_has_all_columns(rows: list[Row]):
    assert len(rich_table(rows, full=True).columns) == 12


def test_name_with_brackets_is_no_markup(rows: list[Row]):
    out = StringIO()
    Console(file=out, width=120).print(rich_table([replace(rows[1], model="run[red]")]))
    assert "run[red]" in out.getvalue()


def test_headline_compares_the_cheapest_student_with_the_dearest_teacher(rows: list[Row]):
    assert headline(rows) == (
        "1 call instead of 35: 47 times faster, Fréchet distance 0.0800 against the teacher's 0.100 "
        "(real data against itself: 0.0600)."
    )


def test_headline_says_only_what_was_measured(rows: list[Row]):
    bare = [replace(row, frechet=None, seconds_per_image=None) for row in rows]
    assert headline(bare) == "1 call instead of 35."
    assert headline(rows[:2]).startswith("Teacher with 35 calls per image: Fréchet distance 0.100")
    assert headline([]) == "No model has been measured yet."
