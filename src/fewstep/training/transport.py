"""Noise that is matched to the items of a batch by optimal transport."""

from dataclasses import dataclass

import torch

from fewstep.batch import Batch
from fewstep.couplings import Coupling
from fewstep.draws import Draws
from fewstep.scalars import Progress
from fewstep.types import X

__all__ = ["Transport"]


@dataclass(frozen=True)
class Transport(Coupling):
    """Give every item the noise that makes the sum of squared distances in the batch smallest.

    An exact assignment: both sides stay the same multisets.  Per process and per piece of an accumulated batch.
    With classes in the batch the noise of a class is no longer normal, and a student that is sampled from normal noise
    has not learned it; with ``within`` noise only moves between items of one label (*ours*), and stays normal.
    Source: Tong et al. 2023, arXiv 2302.00482, section 3.2; for consistency models sLCT, arXiv 2502.01441, section 4.3.
    """

    within: bool = False

    def __call__(self, batch: Batch, x0: X, draws: Draws, progress: Progress) -> X:
        """Return fresh noise in the best order."""
        from scipy.optimize import linear_sum_assignment  # here, since most trainings need none of it

        z = draws.normal(x0)
        costs = torch.cdist(x0.flatten(1).double(), z.flatten(1).double()).square()
        if self.within and batch.c is not None:
            c = batch.c.reshape(len(x0), -1)
            others = (c[:, None] != c[None]).any(2)
            costs = costs.masked_fill(others, 2 * float(costs.sum()))  # above every assignment within the labels
        _, order = linear_sum_assignment(costs.cpu().numpy())
        return z[torch.as_tensor(order, device=z.device)]
