"""The corpus of shapes: a pure function of seed and number, with combinations that it never shows."""

import pytest
import torch

from fewstep.data import NAMED, Shapes, open_data
from fewstep.data.shapes import DIFFICULTIES, HELD_OUT, Difficulty
from fewstep.data.shapes.meaning import FEATURES, condition, read_condition
from fewstep.data.shapes.outlines import OUTLINES, areas
from fewstep.data.shapes.render import grid
from fewstep.data.shapes.vocabulary import SHAPES
from fewstep.errors import DataError

KINDS = [(16, "easy"), (32, "medium"), (64, "hard")]


@pytest.mark.parametrize(("size", "difficulty"), KINDS)
def test_the_same_seed_makes_the_same_shapes(size: int, difficulty: str):
    first, again, other = (Shapes(size, difficulty, seed, 12) for seed in (3, 3, 4))
    assert torch.equal(first.batch(range(12)).x0, again.batch(range(12)).x0)
    assert torch.equal(first.batch(range(12)).c, again.batch(range(12)).c)
    assert first.captions_of(range(12)) == again.captions_of(range(12)) != other.captions_of(range(12))
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()


def test_an_item_does_not_depend_on_the_others():
    short, long = Shapes(32, count=10), Shapes(32, count=10**9)
    whole = long.batch(range(10))
    for order in ([7], [3, 7, 3], [9, 8, 7]):
        part = short.batch(order)
        assert torch.equal(part.x0, whole.x0[order])
        assert torch.equal(part.c, whole.c[order])
    assert long.captions_of([7, 2]) == [short.captions_of([7])[0], short.captions_of([2])[0]]
    assert torch.equal(long.batch([10**9 - 1]).x0, long.batch([10**9 - 1, 0]).x0[:1])


@pytest.mark.parametrize(("size", "difficulty"), [*KINDS, (23, None), (100, "easy"), (256, None)])
def test_items_have_the_form_that_the_data_state(size: int, difficulty: str | None):
    data = Shapes(size, difficulty, count=5)
    batch = data.batch(range(5))
    assert batch.x0.shape == (5, *data.shape) == (5, 3, size, size)
    assert batch.c.shape == (5, *data.condition) == (5, FEATURES)
    assert (batch.x0.dtype, batch.c.dtype) == (torch.float32, torch.float32)
    assert batch.x0.abs().max() <= 1
    assert torch.equal(batch.x0, ((batch.x0 + 1) * 127.5).round() / 127.5 - 1)
    assert batch.c.any(1).all()
    assert f"5 colour images of {size}x{size}" in data.describe()["items"]


@pytest.mark.parametrize(("size", "name"), [(16, "easy"), (31, "easy"), (32, "medium"), (64, "hard"), (256, "hard")])
def test_the_difficulty_follows_the_size(size: int, name: str):
    assert Shapes(size).difficulty.name == name


def test_an_empty_batch_is_empty():
    assert Shapes().batch([]).x0.shape == (0, 3, 16, 16)


@pytest.mark.parametrize("kind", DIFFICULTIES, ids=lambda kind: kind.name)
def test_held_out_combinations_occur_only_where_they_are_asked_for(kind: Difficulty):
    known, count = {pair for pair in kind.combinations if pair in HELD_OUT}, 300
    for held_out in (False, True):
        data = Shapes(kind.smallest, kind.name, count=count, held_out=held_out)
        shown = [{(thing.colour, thing.shape) for thing in each.things} for each in data.meanings(range(count))]
        assert all(bool(each & HELD_OUT) == held_out for each in shown)
        assert set().union(*shown) == set(kind.combinations) - (set() if held_out else known)
    assert len(known) == min(kind.shapes, 6 if kind.colours == 6 else 7)


def test_captions_say_all_there_is_to_say():
    meanings = Shapes(64, count=150).meanings(range(150))
    assert {len(each.things) for each in meanings} == {1, 2, 3}
    assert {each.relation for each in meanings} == {"", "left", "above"}
    assert {each.side for each in meanings} == {"", "left", "right", "above", "below"}
    assert {each.tone for each in meanings} == {"", "light", "dark"}
    assert {each.texture for one in meanings for each in one.things} >= {"striped", "dotted", "checked"}
    assert {each.size for one in meanings for each in one.things} == {"", "small", "large"}
    assert any(len(set(each.things)) < len(each.things) for each in meanings)


def test_a_condition_is_read_as_it_was_written():
    data = Shapes(64, count=60)
    meanings = data.meanings(range(60))
    c = data.batch(range(60)).c
    assert torch.equal(c, condition(meanings))
    assert read_condition(c) == meanings
    assert read_condition(torch.zeros(1, FEATURES)) == [None]
    assert len(set(meanings)) == len({tuple(row.tolist()) for row in c})


@pytest.mark.parametrize("shape", SHAPES)
def test_outlines_are_centred_distances(shape: str):
    x, y = (4 * (each - 0.5).double().requires_grad_() for each in grid(200))
    distance = OUTLINES[shape](x, y)
    inside = (distance < 0).double()
    assert (inside * x).mean().abs() < 2e-3
    assert (inside * y).mean().abs() < 2e-3
    assert inside.mean().item() * 16 == pytest.approx(areas()[shape], rel=0.01)
    slope = torch.stack(torch.autograd.grad(distance.sum(), (x, y))).norm(dim=0)
    near = (distance.abs() < 0.05) & (slope > 0)
    assert ((slope[near] - 1).abs() < 1e-6).double().mean() > 0.98  # all but the lines on which two sides are as near


def test_shapes_are_opened_by_name():
    assert {"shapes", "shapes-easy", "shapes-medium", "shapes-hard"} <= set(NAMED)
    for name, size, shape in [
        ("shapes", None, 16),
        ("shapes", 64, 64),
        ("shapes-easy", 40, 40),
        ("shapes-hard", None, 64),
    ]:
        data = open_data(name, size)
        assert (data.name, data.shape) == (name, (3, shape, shape))
        assert open_data(data.name, data.shape[-1], 3).fingerprint() == data.fingerprint()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Shapes(12), "size 12; accepted is a side of 16 to 256"),
        (lambda: Shapes(16, "hard"), "'hard' were asked for at size 16.*at least 64"),
        (lambda: Shapes(16, "esay"), "no difficulty 'esay'; did you mean 'easy'"),
        (lambda: Shapes(count=-1), "-1 shapes"),
        (lambda: Shapes(count=3).batch([3]), "Item 3 of shapes .* 0 to 2"),
        (lambda: open_data("shapes", 16, 1), r"with 1 channel\(s\), but shapes are told apart by colour"),
    ],
)
def test_what_does_not_exist_is_refused(make, words: str):
    with pytest.raises(DataError, match=words):
        make()
