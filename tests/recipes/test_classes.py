"""Classes by their names: resolved where a recipe meets its data, and refused with the nearest right one."""

import pytest

from fewstep.errors import RecipeError
from fewstep.guidance import Override
from fewstep.recipes import assemble, load_recipe, numbered, spell

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
BY_NAME = [
    "frozen.teacher.guidance=[{override: {forgotten: [three, zero], to: seven}}]",
    "learners.student.objective.0.by_class.classes=three",
    "learners.fake_score.objective.0.by_class.classes=[three, 0]",
    "shares={three: 0.3}",
    "unjudged=[three, zero]",
]
NUMBERS = {"three": "3", "zero": "0", "seven": "7"}


def by_number(setting: str) -> str:
    for name, number in NUMBERS.items():
        setting = setting.replace(name, number)
    return setting


def test_names_stand_for_the_numbers_of_the_data():
    named, plain = load_recipe("sfd", BY_NAME), load_recipe("sfd", list(map(by_number, BY_NAME)))
    assert numbered(named, NAMES) == plain
    assert spell(numbered(named, NAMES)) == spell(plain)  # what a run writes down
    assert numbered(plain, NAMES) == plain


def test_a_name_that_is_a_number_is_quoted_and_wins():
    setting = "unjudged=['5', 2]"
    assert numbered(load_recipe("sfd", [setting]), ("3", "5", "7")).unjudged == (1, 2)


def test_parts_of_a_routed_network_are_of_named_classes():
    parts = [["one", 3, "five", "seven", "nine"], ["zero", "two", "four", "six", "eight"]]
    setting = f"learners.student.network={{routed: {{parts: {parts}, body: {{unet: {{widths: [8]}}}}}}}}"
    network = numbered(load_recipe("msd-tsm", [setting]), NAMES).learners["student"].network
    assert network["routed"]["parts"] == [[1, 3, 5, 7, 9], [0, 2, 4, 6, 8]]
    assert network["routed"]["body"] == {"unet": {"widths": [8]}}
    whole = load_recipe("msd-tsm")
    assert numbered(whole, NAMES) == whole


@pytest.mark.parametrize("setting", BY_NAME)
def test_a_name_that_no_class_has_is_refused_with_the_nearest(setting: str):
    with pytest.raises(RecipeError, match=r"'thre' is no class of the data.*did you mean 'three'"):
        numbered(load_recipe("sfd", [setting.replace("three", "thre")]), NAMES)
    with pytest.raises(RecipeError, match="the data has no classes"):
        numbered(load_recipe("sfd", [setting]), ())


def test_a_name_without_the_data_is_refused(young, pairs):
    with pytest.raises(RecipeError, match=r"'three' is given by its name.*accepted are numbers"):
        assemble(load_recipe("sfd", BY_NAME[:1]), pairs, 10, young, 0)
    with pytest.raises(RecipeError, match=r"'seven' is given by its name"):
        Override((3,), "seven")(young.view)(pairs.x0, pairs.x0.new_ones(8).double(), pairs.c)


def test_a_class_with_two_shares_is_refused():
    with pytest.raises(RecipeError, match=r"'three': 0\.3, 3: 0\.1.* name a class twice"):
        numbered(load_recipe("sfd", ["shares={three: 0.3, 3: 0.1}"]), NAMES)


def test_what_is_neither_number_nor_name_is_refused_with_its_place():
    with pytest.raises(RecipeError, match=r"unjudged\.0 .*is 0\.5; accepted is"):
        load_recipe("sfd", ["unjudged=[0.5]"])
