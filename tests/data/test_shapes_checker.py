"""The checker sees what was drawn, blurred or noisy, and no caption that differs in one part passes."""

from random import Random

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from fewstep.data import Shapes
from fewstep.data.shapes import Difficulty, Found, Meaning, Seen, Thing, altered, parse, shows, verdict
from fewstep.data.shapes.compose import Scene, compose
from fewstep.data.shapes.render import render

KINDS = {(16, "easy"): 120, (32, "medium"): 60, (64, "hard"): 50, (150, "hard"): 12}
kinds = pytest.mark.parametrize("kind", KINDS, ids=str)
Drawn = tuple[Shapes, Tensor, list[Scene]]


@pytest.fixture(scope="module")
def drawn() -> dict[tuple[int, str], Drawn]:
    """Scenes of every kind and their images."""
    return {kind: _drawn(*kind, count) for kind, count in KINDS.items()}


def _drawn(size: int, name: str, count: int) -> Drawn:
    scenes = [compose(Random(seed), Difficulty.of(name, size), size) for seed in range(count)]
    return Shapes(size, name), render(scenes, size), scenes


def everything(scene: Scene) -> Meaning:
    """What could be said of the objects of a scene."""
    return Meaning(tuple(sorted(each.thing for each in scene.objects)))


def blurred(x: Tensor) -> Tensor:
    kernel = torch.outer(*2 * [torch.tensor([0.25, 0.5, 0.25])]).expand(3, 1, 3, 3)
    return conv2d(pad(x, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)


def noisy(x: Tensor) -> Tensor:
    return x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))


SPOILT = {"clean": lambda x: x, "blurred": blurred, "noisy": noisy, "pale": lambda x: 0.8 * x}


@kinds
@pytest.mark.parametrize("how", SPOILT)
def test_real_images_are_right(drawn, kind, how: str):
    data, x, scenes = drawn[kind]
    verdicts = data.checker.verdicts(SPOILT[how](x), [everything(scene) for scene in scenes])
    assert sum(each.right for each in verdicts) >= len(scenes) * (1 if how == "clean" else 0.98) - (how != "clean")


@kinds
def test_what_is_said_is_right_by_caption_and_by_condition(drawn, kind):
    data, x, scenes = drawn[kind]
    batch = data.batch(range(12))
    assert all(each.right for each in data.checker.verdicts(batch.x0, data.captions_of(range(12))))
    assert data.checker.right(batch.x0, batch.c).all()
    assert torch.equal(data.checker.asked(data.checker.words(batch.c)), batch.c)
    assert all(each.right for each in data.checker.verdicts(x, [scene.said for scene in scenes]))


@kinds
def test_a_meaning_that_differs_in_one_part_is_wrong(drawn, kind):
    data, x, scenes = drawn[kind]
    seen, parts = data.checker.look(x), set()
    for scene, image in zip(scenes, seen, strict=True):
        for part, other in altered(everything(scene), data.difficulty):
            wrong = verdict(other, image).wrong
            parts.add(part)
            assert wrong, (part, other, image)
            assert part in wrong, (part, wrong, other, image)
        for part, other in altered(scene.said, data.difficulty):
            if part in ("relation", "tone"):
                assert part in verdict(other, image).wrong, (part, other, image)
                parts.add(part)
    assert parts >= {"count", "colour", "shape", "relation", "tone"}


def test_places_and_radii_are_those_that_were_drawn(drawn):
    for kind, near in [((16, "easy"), 0.02), ((64, "hard"), 0.006)]:
        data, x, scenes = drawn[kind]
        for scene, seen in zip(scenes, data.checker.look(x), strict=True):
            for each in scene.objects:
                found = min(seen.found, key=lambda other: abs(other.x - each.x) + abs(other.y - each.y))
                assert (found.x, found.y, found.radius) == pytest.approx((each.x, each.y, each.radius), abs=near)
                assert found.thing == each.thing


def test_a_picture_without_objects_shows_none():
    checker = Shapes().checker
    grey = torch.linspace(-1, 1, 6)[:, None, None, None].expand(6, 3, 16, 16)
    assert [each.found for each in checker.look(grey)] == 6 * [()]
    assert [each.wrong for each in checker.verdicts(grey[:2], ["a red circle", "a circle on a light background"])] == [
        ("count",),
        ("count", "tone"),
    ]
    assert [each.tone for each in checker.look(grey[[0, 5]])] == ["dark", "light"]


def test_a_missing_object_is_the_only_mistake():
    asked = parse("a blue circle, a red circle and a yellow triangle")
    left, right = (Found(thing, 0.3, 0.5, 0.1) for thing in asked.things[1:])
    assert verdict(asked, Seen((left, right), "")).wrong == ("count",)
    assert verdict(asked, Seen((left,), "")).wrong == ("count",)


def test_what_is_like_no_shape_has_none(drawn):
    data, x, scenes = drawn[32, "medium"]
    one = next(i for i, scene in enumerate(scenes) if scene.said.things[0].size == "large" and len(scene.objects) == 1)
    bar = -torch.ones(1, 3, 32, 32)
    bar[:, 0, 14:17, 2:30] = 1
    (thing,) = (found.thing for found in data.checker.look(bar)[0].found)
    assert (thing.colour, thing.shape) == ("red", "")
    assert data.checker.look(x[one : one + 1])[0].found[0].thing.shape


def test_unwanted_attributes_can_be_counted():
    data = Shapes(count=80)
    seen = data.checker.look(data.batch(range(80)).x0)
    red = [any(thing.colour == "red" for thing in each.things) for each in data.meanings(range(80))]
    assert [shows(each, Thing(colour="red")) for each in seen] == red
    assert not any(shows(each, Thing("red", "cross")) for each in seen)  # it is held out
    (image,) = data.checker.look(Shapes(held_out=True, count=9).batch([0]).x0)
    assert shows(image, Thing())


def test_conditions_of_nothing_ask_for_nothing():
    data = Shapes(count=20)
    batch = data.batch(range(20))
    assert (data.checker.kind(torch.zeros_like(batch.c)) == -1).all()
    assert ((data.checker.kind(batch.c) >= 0) & (data.checker.kind(batch.c) < data.checker.kinds)).all()
    assert data.ear is None
    assert parse(data.checker.words(batch.c)[0]) == data.meanings([0])[0]
