"""Items that are there already: tensors in memory, such as the latents of a model of one's own."""

from collections.abc import Callable, Sequence
from typing import final

import torch
from torch import Tensor

from fewstep.batch import Batch
from fewstep.data.base import Data, digest
from fewstep.data.checker import Checker
from fewstep.errors import DataError
from fewstep.types import X

__all__ = ["Tensors"]


@final
class Tensors(Data):
    """The items ``x0`` (n, ...), with conditions ``c``: labels (n,) of ``classes``, tensors (n, *condition), or none.

    What is made of latents is judged by the images that ``decode`` makes of them, or by a ``checker`` of one's own.
    Raises ``DataError`` for conditions of another number or form, and for values that are not finite.
    """

    def __init__(
        self,
        x0: Tensor,
        c: Tensor | None = None,
        name: str = "tensors",
        classes: Sequence[str] = (),
        decode: Callable[[X], Tensor] | None = None,
        checker: Checker | None = None,
    ) -> None:
        self.name, self.shape, self.classes = name, tuple(x0.shape[1:]), tuple(classes)
        self._x0, self._decode, self._checker = x0.float(), decode, checker
        self._c = None if c is None else c.float() if c.is_floating_point() else c.long()
        self._refuse()

    def __len__(self) -> int:
        return len(self._x0)

    @property
    def condition(self) -> tuple[int, ...]:
        return () if self._c is None else tuple(self._c.shape[1:])

    @property
    def checker(self) -> Checker | None:
        return self._checker or (None if self._decode is None else _Decoded(self._decode))

    def batch(self, indices: Sequence[int]) -> Batch:
        return Batch(self._x0[list(indices)], self.conditions(indices))

    def conditions(self, indices: Sequence[int]) -> Tensor | None:
        return None if self._c is None else self._c[list(indices)]

    def pictures(self, x: X) -> Tensor:
        return x if self._decode is None else self._decode(x).cpu()

    def describe(self) -> dict[str, str]:
        told = f"{len(self.classes)} classes" if self.classes else f"tensors of {list(self.condition)}"
        return {
            "data": f"{self.name}: tensors in memory",
            "items": f"{len(self):,} of {'x'.join(map(str, self.shape))}",
            "condition": "none" if self._c is None else told,
        }

    def fingerprint(self) -> str:
        held = [each.cpu().contiguous().numpy().tobytes() for each in (self._x0, self._c) if each is not None]
        return digest([repr((self.name, self.shape, self.classes, self.condition)).encode(), *held])

    def _refuse(self) -> None:
        """Raise ``DataError`` for what cannot be items with conditions."""
        x0, c, classes = self._x0, self._c, self.classes
        if not x0.isfinite().all() or not (c is None or c.isfinite().all()):
            raise DataError(f"The tensors {self.name!r} hold values that are not finite. Leave these items out.")
        labelled = c is not None and c.ndim == 1 and not c.is_floating_point()
        named = labelled and bool(classes) and bool(((c >= -1) & (c < len(classes))).all())  # type: ignore[operator,union-attr]
        told = c is not None and c.ndim > 1 and c.is_floating_point() and not classes
        if len(x0) != len(x0 if c is None else c) or not (named or told or (c is None and not classes)):
            form = "none" if c is None else f"{str(c.dtype).removeprefix('torch.')} of shape {list(c.shape)}"
            raise DataError(
                f"{len(x0)} items came with {len(classes)} classes and the conditions {form}. Accepted are whole "
                f"numbers ({len(x0)},) from 0 to below the number of classes, or -1 for none; numbers ({len(x0)}, ...) "
                "without classes, zeros for none; or neither."
            )


@final
class _Decoded(Checker):
    """Shows the images that latents stand for; knows nothing of what they should be."""

    kinds = 0
    bounded = False

    def __init__(self, decode: Callable[[X], Tensor]) -> None:
        self._decode = decode

    def seen(self, x: X) -> Tensor:
        return self._decode(x).cpu()

    def kind(self, c: Tensor) -> Tensor:
        return torch.full((len(c),), -1)

    def right(self, x: X, c: Tensor) -> Tensor:
        return torch.ones(len(x), dtype=torch.bool)

    def words(self, c: Tensor) -> list[str]:
        return ["a condition of yours"] * len(c)
