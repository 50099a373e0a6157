"""Prompts without images, for teachers that make the images themselves."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from fewstep.batch import Batch
from fewstep.data.base import Data, digest
from fewstep.errors import DataError

__all__ = ["Prompts"]


@final
@dataclass(frozen=True, eq=False)
class Prompts(Data):
    """The lines of a text file, one prompt each; empty ones do not count.

    They have no items of their own: a pipeline that is distilled on them makes these.
    """

    name: str
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    texts: tuple[str, ...]

    @classmethod
    def open(cls, path: str | Path, size: int) -> "Prompts":
        """Read a file for images of ``size`` pixels a side.  Raises ``DataError`` for one that holds no prompt."""
        try:
            lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path} cannot be read as text ({error}). Give UTF-8 text, a prompt a line.") from error
        texts = tuple(line.strip() for line in lines if line.strip())
        if not texts:
            raise DataError(f"{path} holds no prompt. Give a file with one a line.")
        return cls(Path(path).stem, (3, size, size), (), texts)

    def __len__(self) -> int:
        return len(self.texts)

    def batch(self, indices: Sequence[int]) -> Batch:
        raise DataError(
            f"The prompts {self.name!r} come without images, so nothing can be trained on them alone. Distil a "
            "pipeline on them (`fewstep distill PIPELINE --data PROMPTS.txt`): it makes the images itself."
        )

    def captions_of(self, indices: Sequence[int]) -> list[str]:
        return [self.texts[i] for i in indices]

    def describe(self) -> dict[str, str]:
        distinct = len(set(self.texts))
        return {
            "data": f"prompts {self.name}",
            "items": f"{len(self):,} prompts, {distinct:,} of them different, without images",
        }

    def fingerprint(self) -> str:
        return digest([repr((self.shape, self.texts)).encode()])
