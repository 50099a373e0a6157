"""Data: what training, evaluation and pairs read."""

from fewstep.batch import Batch
from fewstep.data.base import Data
from fewstep.data.checker import Checker
from fewstep.data.digits import Digits
from fewstep.data.ear import Ear
from fewstep.data.folder import ImageFolder
from fewstep.data.further import read_further
from fewstep.data.loader import batches
from fewstep.data.moving import MovingDigits
from fewstep.data.notes import Notes, NotesWave
from fewstep.data.open import NAMED, open_data
from fewstep.data.oversampled import Oversampled
from fewstep.data.pairs import PairsPlan, PairStore, write_pairs
from fewstep.data.prompts import Prompts
from fewstep.data.shapes import Shapes
from fewstep.data.tensors import Tensors

__all__ = [
    "NAMED",
    "Batch",
    "Checker",
    "Data",
    "Digits",
    "Ear",
    "ImageFolder",
    "MovingDigits",
    "Notes",
    "NotesWave",
    "Oversampled",
    "PairStore",
    "PairsPlan",
    "Prompts",
    "Shapes",
    "Tensors",
    "batches",
    "open_data",
    "read_further",
    "write_pairs",
]
