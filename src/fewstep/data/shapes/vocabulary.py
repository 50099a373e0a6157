"""What can be in an image of shapes: attributes, how many of them a difficulty has, and what is held out."""

from dataclasses import dataclass

from fewstep.errors import DataError, nearest

__all__ = ["COLOURS", "DIFFICULTIES", "HELD_OUT", "SHAPES", "SIDES", "SIZES", "TEXTURES", "TONES", "Difficulty"]

SHAPES = ("circle", "square", "triangle", "cross", "diamond", "ring", "star")
COLOURS = {
    "red": (1.0, 0.0, 0.0),
    "yellow": (1.0, 0.9, 0.0),
    "green": (0.0, 1.0, 0.1),
    "cyan": (0.0, 1.0, 1.0),
    "blue": (0.0, 0.2, 1.0),
    "pink": (1.0, 0.0, 0.75),
    "orange": (1.0, 0.45, 0.0),
    "purple": (0.5, 0.0, 1.0),
}
"""Directions in red, green and blue: what is added to some grey.  No two hues are nearer than 24 degrees."""
SIZES = ("small", "large")
TEXTURES = ("plain", "striped", "dotted", "checked")
TONES = ("light", "dark")
SIDES = ("left", "right", "above", "below")

HELD_OUT = frozenset(zip(("green", "yellow", "blue", "red", "cyan", "pink", "orange"), SHAPES, strict=True))
"""Combinations (colour, shape) that the corpus never shows: one of each shape.  Each colour is seen on others."""


@dataclass(frozen=True)
class Difficulty:
    """How much there is to see: the first so many shapes and colours, at most so many objects.

    ``smallest``   side of the images in pixels from which on all of it can be told apart.
    ``sized``      whether objects are small or large; else their size is left to chance and is never said.
    ``textured``   whether objects have textures.
    ``slope``, ``waves``   how much the lightness of a background changes, of 1 between black and white.
    """

    name: str
    smallest: int
    shapes: int
    colours: int
    most: int
    sized: bool
    textured: bool
    slope: float
    waves: float

    @property
    def radii(self) -> tuple[tuple[float, float], ...]:
        """Between which numbers half the width of an object is, of the side of the image; one range per size.

        Objects without a size have one range for those that are alone and one for the others.
        """
        return ((0.115, 0.14), (0.19, 0.21)) if self.sized else ((0.2, 0.36), (0.165, 0.195))

    @classmethod
    def of(cls, name: str | None, size: int) -> "Difficulty":
        """Return the difficulty of this name, by default the hardest one for images of ``size`` pixels.

        Raises ``DataError`` for a name or a size that does not exist.
        """
        if not 16 <= size <= 256:
            raise DataError(f"Shapes were asked for at size {size}; accepted is a side of 16 to 256 pixels.")
        if name is None:
            return max((each for each in DIFFICULTIES if each.smallest <= size), key=lambda each: each.smallest)
        found = next((each for each in DIFFICULTIES if each.name == name), None)
        if found is None:
            raise DataError(f"There is no difficulty {name!r}; {nearest(name, (each.name for each in DIFFICULTIES))}")
        if size < found.smallest:
            raise DataError(
                f"Shapes of difficulty {name!r} were asked for at size {size}, where they cannot be told apart. "
                f"Give a size of at least {found.smallest}, or leave the difficulty out: it then follows the size."
            )
        return found

    @property
    def combinations(self) -> tuple[tuple[str, str], ...]:
        """All pairs (colour, shape), those that are held out among them."""
        return tuple((colour, shape) for colour in [*COLOURS][: self.colours] for shape in SHAPES[: self.shapes])


DIFFICULTIES = (
    Difficulty("easy", 16, 4, 6, 2, sized=False, textured=False, slope=0.0, waves=0.0),
    Difficulty("medium", 32, 7, 8, 3, sized=True, textured=False, slope=0.2, waves=0.0),
    Difficulty("hard", 64, 7, 8, 3, sized=True, textured=True, slope=0.2, waves=0.08),
)
