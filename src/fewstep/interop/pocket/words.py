"""Small genuine tokenizers, made of the words that captions are written in."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise

from transformers import CLIPTokenizer, T5Tokenizer

from fewstep.data.shapes.speak import BOTH, GROUPS, NOUNS, OPENINGS, RELATIONS, TONE_WORDS, WORDS

__all__ = ["clip_tokenizer", "t5_tokenizer", "vocabulary"]

END = "</w>"  # CLIP's mark on the last piece of a word
KNOWN, SPELT = -1.0, -10.0  # log probabilities: a word in one piece costs less than any two letters
SPECIAL = ("<|startoftext|>", "<|endoftext|>")
LETTERS = [chr(code) for code in range(33, 127)]


def vocabulary() -> list[str]:
    """Return every word of the captions, in alphabetical order."""
    attributes = [names for values in WORDS.values() for names in values.values()]
    nouns = [pair for pairs in NOUNS.values() for pair in pairs]
    phrases = [*attributes, *nouns, *RELATIONS.values(), *GROUPS.values(), *TONE_WORDS.values(), BOTH, OPENINGS]
    rest = ["a an and with on against background"]
    return sorted({word for phrase in [*phrases, rest] for part in phrase for word in part.split()})


def clip_tokenizer(tokens: int) -> CLIPTokenizer:
    """Return a tokenizer of CLIP's kind, for ``tokens`` tokens with the two at the ends.

    Byte pairs are merged until each word of the captions is one token; anything else is spelt.
    """
    alphabet = list(_bytes())
    merges = list(_merges(vocabulary()))
    pieces = [*alphabet, *(letter + END for letter in alphabet), *("".join(pair) for pair in merges), *SPECIAL]
    return CLIPTokenizer({piece: i for i, piece in enumerate(pieces)}, merges, model_max_length=tokens)


def t5_tokenizer(tokens: int) -> T5Tokenizer:
    """Return a tokenizer of T5's kind, for ``tokens`` tokens with the one at the end: words, and single letters."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    words = [(f"▁{word}", KNOWN) for word in vocabulary()]
    known = {word for word, _ in words}
    letters = [(letter, SPELT) for letter in ["▁", *LETTERS] if letter not in known]
    return T5Tokenizer([*special, *words, *letters], extra_ids=0, model_max_length=tokens)


def _bytes() -> Iterator[str]:
    """Return the characters that stand for the 256 bytes, as GPT-2's and CLIP's vocabularies write them."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = iter(range(256, 512))
    return (chr(code) if code in shown else chr(next(hidden)) for code in [*shown, *({*range(256)} - {*shown})])


def _merges(words: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Merge the most frequent pair of pieces (of equals the first in the alphabet) until each word is one piece.

    Source: Sennrich et al. 2016, arXiv 1508.07909, section 3.2.
    """
    spelt = [[*word[:-1], word[-1] + END] for word in words]
    while pairs := Counter(pair for pieces in spelt for pair in pairwise(pieces)):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        yield best
        spelt = [_merged(pieces, best) for pieces in spelt]


def _merged(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    """Join each occurrence of a pair, from the left."""
    done: list[str] = []
    for piece in pieces:
        if done and (done[-1], piece) == pair:
            done[-1] += piece
        else:
            done.append(piece)
    return done
