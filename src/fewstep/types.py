"""Shapes that signatures speak of; checked at run time only under pytest.

``X``    a batch of anything, (batch, ...): images, latents, signals, points.
``T``    one time per item, (batch,), float64 until it enters a network.
``Cost`` one number per item, (batch,), in the precision of the data.
``Logits`` what one head of a critic says: a logit at each of its places, (batch, places), or (batch, places, 2) of a
         head that knows classes: the logarithms of "data, of the class c" and "generated, of the class c".
``Cond`` what a generator is conditioned on: nothing, class labels (batch,) with -1 for "no class",
         or embeddings (batch, ...).
"""

from typing import TypeAlias

from jaxtyping import Float, Float64
from torch import Tensor

__all__ = ["Cond", "Cost", "Logits", "T", "X"]

X: TypeAlias = Float[Tensor, "batch *dims"]
T: TypeAlias = Float64[Tensor, " batch"]
Cost: TypeAlias = Float[Tensor, " batch"]
Logits: TypeAlias = Float[Tensor, "batch *_places"]
Cond: TypeAlias = Tensor | None
