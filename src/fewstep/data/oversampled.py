"""Classes in other proportions than the data have them."""

from collections.abc import Mapping, Sequence
from typing import final

import torch

from fewstep.batch import Batch
from fewstep.data.base import Data, digest
from fewstep.errors import DataError
from fewstep.types import Cond

__all__ = ["Oversampled"]


@final
class Oversampled(Data):
    """Other data whose classes have the ``shares`` that are given here by their labels, each repeated as it takes.

    The others share the rest as before, each of their items once: so the length grows.  A share of 0 leaves a class
    out.  Raises ``DataError`` for data without labels, for classes without items, and for shares that leave no rest.
    """

    def __init__(self, inner: Data, shares: Mapping[int, float]) -> None:
        self.inner, self.name, self.shape, self.classes = inner, inner.name, inner.shape, inner.classes
        labels = inner.conditions(range(len(inner)))
        if labels is None or labels.is_floating_point():
            raise DataError(f"{inner.name!r} has no classes, so none can have a share. Leave 'shares' out.")
        rest = torch.arange(len(labels))[~torch.isin(labels, torch.tensor(list(shares)))]
        left = 1 - sum(shares.values())
        if not (left > 0 and all(share >= 0 for share in shares.values()) and len(rest)):
            raise DataError(f"The shares {dict(shares)} leave {left:.3g} for the other classes; accepted: more than 0.")
        chosen = [rest]
        for label, share in shares.items():
            items = (labels == label).nonzero()[:, 0]
            count = round(share / left * len(rest))
            if len(items) == 0 < count:
                raise DataError(f"{inner.name!r} has no items of class {label}, which is to have a share of {share}.")
            chosen.append(items[torch.arange(count) % max(len(items), 1)])
        self._items = torch.cat(chosen)

    @property
    def lazy(self) -> bool:
        return self.inner.lazy

    @property
    def condition(self) -> tuple[int, ...]:
        return self.inner.condition

    def __len__(self) -> int:
        return len(self._items)

    def batch(self, indices: Sequence[int]) -> Batch:
        return self.inner.batch(self._items[list(indices)].tolist())

    def conditions(self, indices: Sequence[int]) -> Cond:
        return self.inner.conditions(self._items[list(indices)].tolist())

    def describe(self) -> dict[str, str]:
        return self.inner.describe()

    def fingerprint(self) -> str:
        return digest([self.inner.fingerprint().encode(), self._items.numpy().tobytes()])
