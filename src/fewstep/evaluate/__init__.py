"""Measure and show: distances between sets of images, diversity, accuracy, pictures, and one report.

Every measure is two steps: a feature network turns images into vectors, a function compares two sets of vectors. So any
``nn.Module`` that returns (n, d) can be the judge, and ``train_classifier`` makes one where there is none.
"""

from fewstep.evaluate.curve import loss_curves, quality_curve
from fewstep.evaluate.distances import frechet, kernel
from fewstep.evaluate.diversity import spread, vendi
from fewstep.evaluate.features import Classifier, cached_classifier, extract, train_classifier
from fewstep.evaluate.headline import headline
from fewstep.evaluate.judge import Judge
from fewstep.evaluate.listening import Heard, Listening, heard_words, wav, write_wav
from fewstep.evaluate.manifold import precision_recall
from fewstep.evaluate.page import Report, write_report
from fewstep.evaluate.parts import PART, held, in_parts
from fewstep.evaluate.picture import Strip, grid, strip
from fewstep.evaluate.rows import Row, read_rows, write_rows
from fewstep.evaluate.table import markdown, rich_table

__all__ = [
    "PART",
    "Classifier",
    "Heard",
    "Judge",
    "Listening",
    "Report",
    "Row",
    "Strip",
    "cached_classifier",
    "extract",
    "frechet",
    "grid",
    "headline",
    "heard_words",
    "held",
    "in_parts",
    "kernel",
    "loss_curves",
    "markdown",
    "precision_recall",
    "quality_curve",
    "read_rows",
    "rich_table",
    "spread",
    "strip",
    "train_classifier",
    "vendi",
    "wav",
    "write_report",
    "write_rows",
    "write_wav",
]
