"""Handwritten digits that come with scikit-learn: real data without a download."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from fewstep.batch import Batch
from fewstep.data.base import Data, digest

__all__ = ["Digits"]


@final
class Digits(Data):
    """The 1,797 grey 8x8 scans of ``sklearn.datasets.load_digits``, all in memory.

    Values are ``v / 8 - 1`` for the stored ``v`` in 0..16, exact in float32; classes "0" to "9".

    *Source* E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI (1998), its test part.
    """

    name = "digits"
    shape = (1, 8, 8)
    classes = tuple(str(digit) for digit in range(10))

    def __init__(self) -> None:
        from sklearn.datasets import load_digits  # here, since it takes as long to import as the rest of fewstep

        scans = load_digits()
        self._x0 = torch.from_numpy(scans.images).float().unsqueeze(1) / 8 - 1
        self._labels = torch.from_numpy(scans.target).long()

    def __len__(self) -> int:
        return len(self._labels)

    def batch(self, indices: Sequence[int]) -> Batch:
        return Batch(self._x0[torch.as_tensor(indices, dtype=torch.long)], self.conditions(indices))

    def conditions(self, indices: Sequence[int]) -> Tensor:
        return self._labels[torch.as_tensor(indices, dtype=torch.long)]

    def describe(self) -> dict[str, str]:
        return {
            "data": "digits: handwritten digits of scikit-learn",
            "items": f"{len(self):,} grey images of 8x8",
            "condition": "10 classes: 0 to 9",
        }

    def fingerprint(self) -> str:
        return digest([self._x0.numpy().tobytes(), self._labels.numpy().tobytes()])
