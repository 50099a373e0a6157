"""Data: what training, evaluation and pairs read."""

from fewstep.batch import Batch
from fewstep.data.base import Data
from fewstep.data.digits import Digits
from fewstep.data.folder import ImageFolder
from fewstep.data.loader import batches
from fewstep.data.open import open_data
from fewstep.data.pairs import PairStore, write_pairs

__all__ = ["Batch", "Data", "Digits", "ImageFolder", "PairStore", "batches", "open_data", "write_pairs"]
