"""Who reads a prompt, how much of it, and which prompts are longer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fewstep.interop.quiet import quiet

__all__ = ["LongPrompts", "Reader", "readers", "unread"]


class LongPrompts(UserWarning):
    """Prompts of which a text encoder reads the beginning only."""


@dataclass(frozen=True)
class Reader:
    """A text encoder: its name, its ``tokenizer``, and how many tokens of a prompt it reads, their marks included.

    ``lowered``: whether its pipeline gives it prompts in small letters, without spaces around.
    """

    name: str
    tokenizer: Any
    most: int
    lowered: bool = False

    def longer(self, texts: Sequence[str]) -> int:
        """Return how many prompts it reads the beginning of only."""
        given = [text.lower().strip() for text in texts] if self.lowered else list(texts)
        with quiet():
            return sum(len(tokens) > self.most for tokens in self.tokenizer(given).input_ids) if given else 0


def readers(name: str, *tokenizers: Any) -> tuple[Reader, ...]:
    """Return the readers with these tokenizers that there are; each reads as much as its tokenizer says."""
    return tuple(Reader(name, each, int(each.model_max_length)) for each in tokenizers if each is not None)


def unread(known: Sequence[Reader], texts: Sequence[str]) -> str:
    """Say how many of the prompts are longer than who reads them reads, and who reads them whole; "" if all do."""
    counts: dict[tuple[str, int], int] = {}
    for reader in known:
        key = (reader.name, reader.most)
        counts[key] = max(counts.get(key, 0), reader.longer(texts))
    cut = [(count, name, most) for (name, most), count in counts.items() if count]
    if not cut:
        return ""
    (count, name, most), *others = cut
    verb = "is" if count == 1 else "are"
    said = f"{count:,} of {len(texts):,} prompts {verb} longer than the {most:,} tokens that {name} reads"
    said += "".join(f", {count:,} than the {most:,} of {name}" for count, name, most in others)
    whole = [name for (name, _), count in counts.items() if not count]
    return said + (f"; {' and '.join(whole)} reads them whole" if whole else "")
