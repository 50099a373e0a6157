"""Captions and their meanings: every caption that can be said is understood."""

import os
import subprocess
import sys
from random import Random

import pytest

from fewstep.data import Shapes
from fewstep.data.shapes import DIFFICULTIES, Meaning, Thing, meaning_of, parse, say
from fewstep.errors import DataError

RED, BLUE, GREEN = Thing("red", "circle"), Thing("blue", "square"), Thing("green", "cross")


@pytest.mark.parametrize("kind", DIFFICULTIES, ids=lambda kind: kind.name)
def test_captions_mean_what_they_were_made_from(kind):
    data = Shapes(kind.smallest, kind.name, seed=2, count=100)
    assert [parse(caption) for caption in data.captions_of(range(100))] == data.meanings(range(100))


def test_every_way_of_saying_something_means_the_same():
    meaning = meaning_of((RED, BLUE, GREEN), "left", "below", "dark")
    captions = {say(meaning, Random(seed)) for seed in range(60)}
    assert len(captions) > 50
    assert {parse(caption) for caption in captions} == {meaning}


@pytest.mark.parametrize(
    ("caption", "meaning"),
    [
        ("A red circle.", Meaning((RED,))),
        ("an  OBJECT", Meaning((Thing(),))),
        ("a blue thing on a pale background", Meaning((Thing("blue"),), tone="light")),
        ("a tiny stripy scarlet disc", Meaning((Thing("red", "circle", "small", "striped"),))),
        ("a pair of red circles", Meaning((RED, RED))),
        ("a blue box and two red circles", Meaning((BLUE, RED, RED))),
        ("a blue box, a red disc and a green plus", Meaning((BLUE, GREEN, RED))),
        ("a red circle left of a blue square", Meaning((RED, BLUE), "left")),
        ("a blue square to the right of a red circle", Meaning((RED, BLUE), "left")),
        ("a red circle under a blue square", Meaning((BLUE, RED), "above")),
        (
            "a picture of a blue box below a red disc, with a green plus to the left of both against a dark background",
            Meaning((RED, BLUE, GREEN), "above", "left", "dark"),
        ),
    ],
)
def test_a_caption_means(caption: str, meaning: Meaning):
    assert parse(caption) == meaning


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("a reed circle", "from 'reed circle' on; did you mean 'red'"),
        ("", "from 'its end' on"),
        ("a red circel", "did you mean 'circle"),
        ("two red circle", "did you mean 'circles'"),
        ("a red small circle", "Adjectives stand in the order size, texture, colour"),
        ("a red circle behind a blue square", "from 'behind a blue square' on"),
        ("a red circle left of", "from 'its end' on"),
        ("a red circle left of a blue square, with a green cross", "from 'its end' on; .*above"),
        ("a red circle left of a blue square, with a green cross left of both", "Accepted: two objects"),
        ("a red circle left of a red circle", "described in the same way"),
        ("two red circles and two blue squares", "4 objects were described; accepted are 1 to 3"),
        ("a red circle on a red background", "did you mean 'dark'|Known: .*light"),
    ],
)
def test_what_is_not_understood_is_refused(caption: str, words: str):
    with pytest.raises(DataError, match=words):
        parse(caption)


def test_captions_are_the_same_in_every_process():
    code = "from fewstep.data.shapes import Shapes; print(Shapes(16).captions_of(range(200)))"
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"  # another one than that of this process
    environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout == f"{Shapes(16).captions_of(range(200))}\n"
