"""Papers as data: what a recipe may say, how it is read, and what it stands for."""

from fewstep.recipes.assemble import Assembly, assemble, guide
from fewstep.recipes.build import Builder, choices
from fewstep.recipes.cite import bibliography, cite
from fewstep.recipes.classes import numbered
from fewstep.recipes.load import is_given_teacher, load_recipe, parse
from fewstep.recipes.read import Document, paper_names, read
from fewstep.recipes.schema import FrozenSpec, LearnerSpec, PairsSpec, Recipe
from fewstep.recipes.share import Base
from fewstep.recipes.spell import spell

__all__ = [
    "Assembly",
    "Base",
    "Builder",
    "Document",
    "FrozenSpec",
    "LearnerSpec",
    "PairsSpec",
    "Recipe",
    "assemble",
    "bibliography",
    "choices",
    "cite",
    "guide",
    "is_given_teacher",
    "load_recipe",
    "numbered",
    "paper_names",
    "parse",
    "read",
    "spell",
]
