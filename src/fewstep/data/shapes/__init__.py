"""Captioned shapes: a grammar, a drawing, and an exact checker of what an image shows."""

from fewstep.data.shapes.alter import altered
from fewstep.data.shapes.corpus import Shapes, ShapesChecker
from fewstep.data.shapes.look import Found, Seen
from fewstep.data.shapes.meaning import Meaning, Thing, meaning_of
from fewstep.data.shapes.parse import parse
from fewstep.data.shapes.speak import say
from fewstep.data.shapes.verdict import Verdict, shows, verdict
from fewstep.data.shapes.vocabulary import DIFFICULTIES, HELD_OUT, Difficulty

__all__ = [
    "DIFFICULTIES",
    "HELD_OUT",
    "Difficulty",
    "Found",
    "Meaning",
    "Seen",
    "Shapes",
    "ShapesChecker",
    "Thing",
    "Verdict",
    "altered",
    "meaning_of",
    "parse",
    "say",
    "shows",
    "verdict",
]
