"""How many times more likely than under the student an item is under the teacher, as a critic sees it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fewstep.errors import RecipeError
from fewstep.process import Process
from fewstep.terms.divergences import Divergence
from fewstep.turn import Noised, Turn
from fewstep.types import T

__all__ = ["DensityRatio"]


@dataclass(frozen=True)
class DensityRatio:
    """``r = p_t / q_t = e^l`` with the logit l of the network ``critic`` at the x_t and t of the matching itself.

    The logit is clamped to ``-limit`` ... ``limit``, r to ``low`` ... ``high``; then, since ``E_q r = 1`` at every t, r
    is divided by its mean over the items whose noise level falls into the same one of ``bins`` (0: by none), and with
    ``balance`` h by its mean over all.  Exact, but for the clamps, when the critic is trained by ``Discriminate`` to
    its optimum on the teacher's samples; on data the logit says how likely the data are.
    Noted are the mean of r (1 when the critic is right), the share of items where a clamp held it, and the effective
    size ``(sum h)^2 / (n sum h^2)`` of the weights, the share of the n items that count: 1 when all weigh the same.
    Source: f-distill, arXiv 2502.15681, and its code (the default numbers).
    *Ours*: bins of the logarithm of the noise level, from the lowest to the highest of the batch (there: of the
    clock, most of which lies in the first bin); means over the items at hand, without a memory.
    Raises ``RecipeError`` unless 0 <= low < high, limit > 0 and bins >= 0.
    """

    critic: str = "fake_score"
    limit: float = 10.0
    low: float = 0.1
    high: float = 20.0
    bins: int = 10
    balance: bool = True

    def __post_init__(self) -> None:
        if not (0 <= self.low < self.high and self.limit > 0 and self.bins >= 0):
            raise RecipeError(
                f"a density ratio from {self.low} to {self.high} of logits up to {self.limit}, in {self.bins} bins; "
                "accepted are 0 <= low < high, limit > 0 and bins >= 0."
            )

    def weights(self, turn: Turn, noised: Noised, divergence: Divergence) -> T:
        """Return ``h(r)`` of each item, (b,) float64; 1 where the divergence asks for no ratio."""
        if divergence.constant:
            return torch.ones_like(noised.t)
        h = divergence.weight(self(turn, noised))
        turn.note("effective size", h.sum().square() / (len(h) * h.square().sum()).clamp_min(1e-300))
        return h / h.mean() if self.balance else h

    @torch.no_grad()
    def __call__(self, turn: Turn, noised: Noised) -> T:
        """Return r of each item, (b,) float64."""
        logit = turn.critic(self.critic)(noised.x, noised.t, turn.c).double()
        free = logit.exp()
        r = logit.clamp(-self.limit, self.limit).exp().clamp(self.low, self.high)
        turn.note("density ratio", r.mean())  # 1 when the critic is right
        turn.note("clamped share", (r != free).double().mean())
        return r / _mean_of_alike(r, _bins(turn.process, noised.t, self.bins)) if self.bins else r


def _bins(process: Process, t: T, count: int) -> Tensor:
    """Return in which of ``count`` even parts of the range of log noise levels each time lies, (b,)."""
    level = -process.logsnr(t)
    place = (level - level.min()) / (level.max() - level.min()).clamp_min(1e-12)
    return (place * count).long().clamp_max(count - 1)


def _mean_of_alike(values: T, kind: Tensor) -> T:
    """Return for each item the mean of the values of its kind."""
    size = int(kind.max()) + 1
    sums, counts = (values.new_zeros(size).index_add(0, kind, each) for each in (values, torch.ones_like(values)))
    return (sums / counts.clamp_min(1))[kind]
