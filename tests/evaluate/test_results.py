"""Results of the bench: statistics over seeds, merging, the file, the plot by family."""

import json
from dataclasses import asdict, fields, replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from fewstep.errors import DataError
from fewstep.evaluate.families import _family, family_curves, spaced
from fewstep.evaluate.ink import COLOURS, look_of
from fewstep.evaluate.results import Result, Trial, best_of, full, merged, over_seeds, read_results, write_results

FIELDS = "data, recipe, calls, frechet, spread, ratio_to_teacher, updates, train_seconds, seeds, commit, hardware"
FIELDS += ", pair_seconds, recall"


def trial(scale: float, calls: tuple[int, ...] = (1, 2), commit: str | None = "abc") -> Trial:
    return Trial({count: scale / count for count in calls}, 100, 10 * scale, commit, "a machine")


@pytest.fixture
def results() -> list[Result]:
    teacher = over_seeds("digits", "teacher", [Trial({35: 0.1, 1: 2.0, 2: 1.0}, 50, 9.0, None, "m")], 0.1)
    students = [over_seeds("digits", name, [trial(0.1), trial(0.2)], 0.1) for name in ("cd", "kd")]
    floor = Result("digits", "real", None, 0.05, None, None, None, None, 1, None, "m")
    return merged([], [floor, *teacher, *students[0], *students[1]])


def test_mean_and_spread_are_those_over_seeds():
    scales = [0.1, 0.15, 0.26]
    one, two = over_seeds("digits", "cd", [trial(scale) for scale in scales], teacher=0.05)
    assert (one.calls, two.calls, one.seeds) == (1, 2, 3)
    assert one.frechet == pytest.approx(mean(scales))
    assert one.spread == pytest.approx(stdev(scales), abs=1e-6)
    assert two.frechet == pytest.approx(mean(scales) / 2)
    assert one.ratio_to_teacher == pytest.approx(mean(scales) / 0.05, abs=1e-3)
    assert one.train_seconds == pytest.approx(10 * mean(scales), abs=0.05)


def test_one_seed_has_no_spread():
    assert [line.spread for line in over_seeds("digits", "cd", [trial(0.1)], 0.1)] == [None, None]


def test_seeds_of_different_commits_name_both():
    (line,) = over_seeds("digits", "cd", [trial(0.1, (1,), "b"), trial(0.2, (1,), "a+")], 0.1)
    assert line.commit == "a+, b"
    (line,) = over_seeds("digits", "cd", [trial(0.1, (1,), None)], 0.1)
    assert line.commit is None


def test_lines_have_exactly_the_promised_fields(results, tmp_path: Path):
    assert ", ".join(field.name for field in fields(Result)) == FIELDS
    write_results(tmp_path / "results.json", results)
    assert all(", ".join(line) == FIELDS for line in json.loads((tmp_path / "results.json").read_text()))


def test_results_survive_a_round_trip(results, tmp_path: Path):
    write_results(tmp_path / "results.json", results)
    assert read_results(tmp_path / "results.json") == results
    assert read_results(tmp_path / "none.json") == []


def test_number_that_is_not_finite_is_refused(results, tmp_path: Path):
    with pytest.raises(DataError, match="not finite"):
        write_results(tmp_path / "results.json", [replace(results[0], frechet=float("nan"))])
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize("content", ["{", "[1]", '[{"data": "digits"}]'])
def test_file_of_anything_else_is_refused(content: str, tmp_path: Path):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(DataError, match=r"results\.json"):
        read_results(tmp_path / "results.json")


def test_merging_replaces_all_lines_of_a_recipe_and_keeps_the_others(results):
    notes = [replace(line, data="notes") for line in results if line.recipe == "cd"]
    new = over_seeds("digits", "cd", [trial(0.5, (4,))], 0.1)
    after = merged([*results, *notes], new)
    assert [line for line in after if (line.data, line.recipe) == ("digits", "cd")] == new
    assert [line for line in after if line.recipe != "cd"] == [line for line in results if line.recipe != "cd"]
    assert [line for line in after if line.data == "notes"] == notes


def test_merged_lines_do_not_depend_on_the_order(results):
    assert merged(results[::-1], []) == merged([], results) == results
    assert [line.recipe for line in results[:2]] == ["real", "teacher"]


def test_full_teacher_is_the_one_with_most_calls(results):
    assert full(results).calls == 35
    with pytest.raises(DataError, match="no line of the teacher"):
        full([line for line in results if line.recipe == "cd"])


def test_best_line_is_the_lowest_with_the_fewest_calls(results):
    lines = [line for line in results if line.recipe == "cd"]
    assert best_of(lines).calls == 2
    assert best_of([replace(line, frechet=1.0) for line in lines]).calls == 1


@pytest.mark.parametrize("places", [[0.0, 0.1, 0.2], [0.0, 0.0, 0.0, 3.0], [-1.0, 4.0], [2.0]])
def test_spaced_places_are_apart_and_keep_their_mean(places: list[float]):
    found = spaced(places, 0.5)
    assert all(high - low >= 0.5 - 1e-9 for low, high in pairwise(found))
    assert mean(found) == pytest.approx(mean(places))


def test_places_that_are_apart_stay():
    assert spaced([0.0, 1.0, 2.0], 0.5) == pytest.approx([0.0, 1.0, 2.0])


@pytest.mark.parametrize(
    ("places", "wanted"),
    [
        ([0.0, 0.1, 0.2], [0.0, 0.5, 1.0]),  # their block would begin at -0.4
        ([1.9, 2.0], [1.5, 2.0]),
        ([0.0, 1.0, 1.2], [0.0, 0.85, 1.35]),
        ([0.1] * 6, [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]),  # no room for all
    ],
)
def test_spaced_places_keep_to_the_axis(places: list[float], wanted: list[float]):
    assert spaced(places, 0.5, 0.0, 2.0) == pytest.approx(wanted)


def test_plot_has_a_panel_per_family(results):
    sizes = {}
    for families in ({"cd": "a", "kd": "a"}, {"cd": "a", "kd": "b"}):
        drawn = BytesIO()
        family_curves(results, families, drawn)
        image = Image.open(drawn)
        assert np.asarray(image)[..., 3].any()
        sizes[len(set(families.values()))] = image.size
    assert sizes[2][0] == pytest.approx(2 * sizes[1][0], abs=2)


def test_plot_takes_many_recipes_and_no_spread(results):
    line = replace(results[-1], spread=None)
    many = [replace(line, recipe=f"r{i}", frechet=0.01 * (i + 1)) for i in range(25)]
    drawn = BytesIO()
    family_curves([*results, *many], {f"r{i}": f"family {i % 9}" for i in range(25)}, drawn)
    assert Image.open(drawn).size[1] > 1000


def test_lines_of_a_panel_have_looks_of_their_own():
    looks = [look_of(line) for line in range(42)]
    assert len(set(looks)) == 42
    assert COLOURS[0] not in {colour for colour, _ in looks}
    assert len({colour for colour, _ in looks[:7]}) == 7


def test_lines_of_one_colour_are_drawn_with_other_markers(results):
    few = [replace(results[-1], recipe=f"r{i}", frechet=0.1) for i in range(9)]
    axes = Figure().subplots()
    _family(axes, {line.recipe: [line] for line in few}, 2, (-2.0, 0.0))
    points = [line for line in axes.get_lines() if line.get_markevery() is None]
    drawn = [(line.get_color(), line.get_marker()) for line in points if line.get_marker() not in ("_", "None")]
    assert drawn == [look_of(line) for line in range(9)]


def test_plot_without_a_recipe_is_refused(results):
    with pytest.raises(DataError, match="at least one recipe"):
        family_curves([line for line in results if line.recipe in ("real", "teacher")], {}, BytesIO())


def test_a_result_is_plain_values(results):
    assert json.loads(json.dumps([asdict(line) for line in results]))[0]["recipe"] == "real"
