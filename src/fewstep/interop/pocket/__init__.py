"""Pipelines of the great families that fit into a pocket: built, taught to code and to read, and told about shapes."""

from fewstep.interop.pocket.autoencode import learn_to_code, share_coded, standardise
from fewstep.interop.pocket.begun import Begun
from fewstep.interop.pocket.build import POCKETS, Pocket, build
from fewstep.interop.pocket.read import learn_to_read, share_read
from fewstep.interop.pocket.words import clip_tokenizer, t5_tokenizer, vocabulary

__all__ = [
    "POCKETS",
    "Begun",
    "Pocket",
    "build",
    "clip_tokenizer",
    "learn_to_code",
    "learn_to_read",
    "share_coded",
    "share_read",
    "standardise",
    "t5_tokenizer",
    "vocabulary",
]
