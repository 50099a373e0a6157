"""Scenes from a seed: what is in an image, where exactly, and how much of it is said."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import cos, pi, sin
from random import Random
from typing import TypeVar

from fewstep.data.shapes.arrange import arrange, between
from fewstep.data.shapes.meaning import ACROSS, Meaning, Thing, meaning_of
from fewstep.data.shapes.vocabulary import HELD_OUT, SIZES, TEXTURES, TONES, Difficulty

__all__ = ["Backdrop", "Placed", "Scene", "compose", "pick", "recoloured"]

A = TypeVar("A")

TILT = 8.0  # degrees, either way; none on easy images, where a pixel is too coarse
TWINS = 0.2  # share of several objects of which two are alike
LIGHT, STRENGTH = (0.15, 0.85), (0.95, 1.05)
TINT = 0.025  # per channel: far from the colour of any object
CALM, MOST_WAVES = 0.4, 4.0  # how uneven a background is of which the tone is said; waves across an image at most
SAID = {"relation": 0.75, "size": 0.6, "texture": 0.7, "tone": 0.25}  # how often captions mention what is there
SHADES = {"light": (0.7, 0.92), "": (0.05, 0.95), "dark": (0.06, 0.3)}  # lightness of a background


@dataclass(frozen=True)
class Placed:
    """One object: centre of mass and radius in sides of the image, tilt in degrees, lightness 0 to 1 and the strength
    of the colour around 1."""

    thing: Thing
    x: float
    y: float
    radius: float
    tilt: float
    light: float
    strength: float


@dataclass(frozen=True)
class Backdrop:
    """A background: lightness 0 to 1, a tint (red, green, blue), the lightness that is added from left to right and
    from top to bottom, and waves: how high, how many across and down, and where they begin in turns."""

    light: float
    tint: tuple[float, float, float]
    slope: tuple[float, float]
    waves: tuple[float, float, float, float]


@dataclass(frozen=True)
class Scene:
    """One image to draw, and what is said of it."""

    objects: tuple[Placed, ...]
    backdrop: Backdrop
    said: Meaning


def compose(random: Random, difficulty: Difficulty, size: int, held_out: bool = False) -> Scene:
    """Draw a scene.  No object is of a combination that is held out, but for one of them when ``held_out``."""
    things = _things(random, difficulty, held_out)
    relation = pick(random, ("left", "above"))
    side = pick(random, ACROSS[relation]) if len(things) == 3 else ""
    tone = pick(random, TONES) if random.random() < SAID["tone"] else ""
    objects = _placed(random, things, (relation, side), difficulty, size)
    return Scene(objects, _backdrop(random, difficulty, tone), _said(random, things, (relation, side, tone)))


def recoloured(scene: Scene, random: Random, difficulty: Difficulty) -> Scene:
    """Return a scene with one object of another colour, in a combination that is not held out."""
    place = int(random.random() * len(scene.objects))
    one = scene.objects[place]
    seen = [pair for pair in difficulty.combinations if pair not in HELD_OUT and pair[1] == one.thing.shape]
    colour, _ = pick(random, [pair for pair in seen if pair[0] != one.thing.colour])
    other = replace(one, thing=replace(one.thing, colour=colour))
    return replace(scene, objects=(*scene.objects[:place], other, *scene.objects[place + 1 :]))


def pick(random: Random, options: Sequence[A]) -> A:
    """Return one of the options; unlike ``random.choice`` the same one in every version of Python."""
    return options[int(random.random() * len(options))]


def _things(random: Random, difficulty: Difficulty, held_out: bool) -> list[Thing]:
    """Draw what there is: 1 to ``most`` objects, sometimes two that are alike."""
    seen = [pair for pair in difficulty.combinations if pair not in HELD_OUT]
    kept = [pair for pair in difficulty.combinations if pair in HELD_OUT]
    count = 1 + int(random.random() * difficulty.most)
    things = [_thing(random, pick(random, seen), difficulty) for _ in range(count)]
    place = int(random.random() * count)
    if held_out:
        things[place] = _thing(random, pick(random, kept), difficulty)
    if count > 1 and random.random() < TWINS:
        things[place - 1] = things[place]
    return things


def _thing(random: Random, pair: tuple[str, str], difficulty: Difficulty) -> Thing:
    size = pick(random, SIZES) if difficulty.sized else ""
    return Thing(*pair, size, pick(random, TEXTURES) if difficulty.textured else "plain")


def _said(random: Random, things: Sequence[Thing], where: tuple[str, str, str]) -> Meaning:
    """Leave some of what there is unsaid, and relations where it then is not clear which object is which."""
    told = []
    for thing in things:
        size = thing.size if random.random() < SAID["size"] else ""
        texture = thing.texture if random.random() < SAID["texture"] else ""
        told.append(replace(thing, size=size, texture="" if texture == "plain" and not thing.size else texture))
    relation, side, tone = where
    apart = len(told) > 1 and all(one.excludes(other) for one, other in combinations(told, 2))
    if random.random() > SAID["relation"] or not apart:
        relation = side = ""
    return meaning_of(told, relation, side, tone)


def _placed(
    random: Random, things: Sequence[Thing], where: tuple[str, str], difficulty: Difficulty, size: int
) -> tuple[Placed, ...]:
    """Give every object a size, a place and a look of its own."""
    radii = [between(random, _radii(thing, len(things), difficulty)) for thing in things]
    places = arrange(random, [thing.shape for thing in things], radii, where, size)
    tilt, objects = TILT if difficulty.sized else 0.0, []
    for thing, radius, (x, y) in zip(things, radii, places, strict=True):
        looks = between(random, (-tilt, tilt)), between(random, LIGHT), between(random, STRENGTH)
        objects.append(Placed(thing, x, y, radius, *looks))
    return tuple(objects)


def _radii(thing: Thing, count: int, difficulty: Difficulty) -> tuple[float, float]:
    return difficulty.radii[SIZES.index(thing.size) if thing.size else min(count, 2) - 1]


def _backdrop(random: Random, difficulty: Difficulty, tone: str) -> Backdrop:
    """Draw a background that stays within the tone, and is hardly coloured."""
    slope, waves, angle = difficulty.slope, difficulty.waves, 2 * pi * random.random()
    slope, waves = (CALM * slope, CALM * waves) if tone else (slope, waves)
    margin, (low, high) = 0.0 if tone else slope / 2 + waves, SHADES[tone]
    light = between(random, (low + margin, high - margin))
    tint = [between(random, (-TINT, TINT)) for _ in range(3)]
    rise, height = between(random, (0.0, slope)), between(random, (0.0, waves))
    waving = (height, between(random, (-MOST_WAVES, MOST_WAVES)), between(random, (-MOST_WAVES, MOST_WAVES)))
    return Backdrop(
        light, (tint[0], tint[1], tint[2]), (rise * cos(angle), rise * sin(angle)), (*waving, random.random())
    )
