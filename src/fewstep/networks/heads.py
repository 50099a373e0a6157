"""A critic that borrows a network's features."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from fewstep.condition import null
from fewstep.errors import RecipeError
from fewstep.networks.embed import ConditionEmbedding, TimeEmbedding
from fewstep.networks.reads import reader_of
from fewstep.tapped import changing

__all__ = ["Headed", "Heads"]

Kind = Literal["global", "local", "classes"]
Knows = Literal["seen", "told", "hidden"]


@dataclass(frozen=True)
class Heads:
    """The heads of a critic: ``copies`` of one for every tap, kind and way to know the condition.

    ``taps`` are names of submodules.  ``kinds``: ``global`` judges an item by mean and deviation of its features over
    all places, ``local`` every place by itself, ``classes`` is a global one that tells 2K classes apart, data or
    generated of each class.  ``condition``: ``seen`` by the network whose features are read, ``told`` to the head as
    well, or ``hidden`` from both.  With ``timed`` heads are told the noise level; with ``levels`` (times) there is
    one head for each level in the place of one, and an item is judged by that of the nearest.  ``drawn`` of them
    (with all their levels) speak in a turn, by default all; ``refresh`` is the share of single heads that starts anew
    after each update, their optimiser state included.
    Raises ``RecipeError`` for numbers out of range, and for classes where the condition is not hidden.
    Source: DMD2, arXiv 2405.14867, section 4.3 (one head); the pool, drawn and refreshed, of global and local heads
    with and without the condition: NitroFusion, arXiv 2412.02030; projection: arXiv 1802.05637; classes: ADC-GAN,
    arXiv 2107.10060.  *Ours*: small networks without normalisation.
    """

    SOURCE: ClassVar[str] = "arXiv 2405.14867"

    taps: tuple[str, ...]
    kinds: tuple[Kind, ...] = ("global",)
    condition: tuple[Knows, ...] = ("seen",)
    timed: bool = False
    levels: tuple[float, ...] = ()
    copies: int = 1
    drawn: int | None = None
    refresh: float = 0.0
    width: int = 64

    def __post_init__(self) -> None:
        count = len(self.columns)
        if count < 1 or not 1 <= (count if self.drawn is None else self.drawn) <= count or not 0 <= self.refresh < 1:
            raise RecipeError(
                f"of {count} heads (taps x kinds x condition x copies) {self.drawn} are drawn and a share of "
                f"{self.refresh} is refreshed; accepted are 1 head or more, drawn from 1 to their number, and refresh "
                "from 0 to below 1."
            )
        if "classes" in self.kinds and set(self.condition) != {"hidden"}:
            raise RecipeError(
                f"heads of the kind classes are to name the class, but their condition is {list(self.condition)}; "
                "accepted is hidden: who is told the class need not look. Give 'condition: hidden'."
            )

    @property
    def columns(self) -> list[tuple[str, Kind, Knows]]:
        """Tap, kind and condition of every head, before its levels."""
        return [each[:3] for each in product(self.taps, self.kinds, self.condition, range(self.copies))]


class Head(nn.Module):
    """Logits of features; ``told`` are networks that make vectors of what it knows besides."""

    def __init__(self, features: int, width: int, classes: int, told: Sequence[nn.Module]) -> None:
        super().__init__()
        self.classes = classes
        self.hidden = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.last = nn.Linear(width, 2 * classes or 1)
        self.told = nn.ModuleList(told)

    def forward(self, features: Tensor, label: Tensor, c: Tensor | None) -> Tensor:
        """Map (b, places, features) to logits (b, places), or (b, places, 2) of the class c."""
        h = self.hidden(features)
        logits: Tensor = self.last(h)
        for part in self.told:
            known = part(c, h[:, 0]) if isinstance(part, ConditionEmbedding) else part(label)
            logits = logits + (h * known[:, None]).sum(2, keepdim=True) / h.shape[2] ** 0.5
        if not self.classes or c is None:
            return logits[..., 0]
        both = torch.stack([c, c + self.classes], 1)[:, None].expand(-1, logits.shape[1], -1)
        return logits.log_softmax(2).gather(2, both)


class Headed(nn.Module):
    """A network that also judges: ``net(x, label, c)`` as before, with ``judge`` logits of each head that speaks.

    A head is built for the features of ``like`` = (x, label, c), one example batch; ``labels`` are those of the levels
    of ``heads``, which may be the name of a tap.  A body that does not learn is never in training mode.
    Raises ``RecipeError`` when no submodule has such a name, and for heads that ask for classes that there are not.
    Source: DMD2, arXiv 2405.14867, section 4.3 (a head on the bottleneck of the fake score).
    """

    levels: Tensor

    def __init__(
        self,
        body: nn.Module,
        heads: Heads | str,
        like: tuple[Tensor, Tensor, Tensor | None],
        classes: int = 0,
        labels: Sequence[float] = (),
    ) -> None:
        super().__init__()
        self.body, self.spec = body, Heads((heads,)) if isinstance(heads, str) else heads
        self.columns, named = self.spec.columns, like[2] is not None and classes > 0
        if "classes" in self.spec.kinds and not named:
            raise RecipeError("heads of the kind classes need data with class labels; take other data, or other kinds.")
        with torch.no_grad():
            found = self._listen(*like, set(self.spec.taps))
        self.register_buffer("levels", torch.as_tensor(labels, dtype=torch.float64), persistent=False)
        self.heads = nn.ModuleList(
            self._head(column, _summed(found[column[0]], column[1]).shape[2], self._known(like[2]), classes)
            for column in self.columns
            for _ in range(max(len(labels), 1))
        )

    def _head(self, column: tuple[str, Kind, Knows], features: int, c: Tensor | None, classes: int) -> Head:
        spec, told = self.spec, list[nn.Module]()
        if column[2] == "told":
            told.append(ConditionEmbedding(spec.width, classes, 0 if classes or c is None else c.shape[1]))
        if spec.timed:
            told.append(TimeEmbedding(spec.width))
        return Head(features, spec.width, classes if column[1] == "classes" else 0, told)

    def forward(
        self, x: Tensor, label: Tensor, c: Tensor | None = None, *rest: Tensor | None, judge: int = 0
    ) -> Tensor | list[Tensor]:
        """Return the body's output, or with ``judge`` what each head says that this number lets speak."""
        if not judge:
            return self.body(x, label, c, *rest)  # type: ignore[no-any-return]
        speaking, found = self._drawn(judge), dict[bool, dict[str, Tensor]]()
        for hidden in sorted({self.columns[i][2] == "hidden" for i in speaking}):
            taps = {self.columns[i][0] for i in speaking if (self.columns[i][2] == "hidden") == hidden}
            found[hidden] = self._listen(x, label, null(c) if hidden else c, taps)
        known = self._known(c)
        return [
            self._judge(i, found[self.columns[i][2] == "hidden"][self.columns[i][0]], label, known) for i in speaking
        ]

    @property
    def partial(self) -> bool:
        """Whether some of the heads may be silent in a turn: those that are not drawn, or whose level nobody meets."""
        return self.spec.drawn is not None or len(self.levels) > 1

    def train(self, mode: bool = True) -> "Headed":
        """Set the training mode, of the body only where it learns: frozen features are those of the teacher."""
        super().train(mode)
        self.body.train(mode and any(parameter.requires_grad for parameter in self.body.parameters()))
        return self

    def renew(self) -> list[nn.Parameter]:
        """Start a random share of the heads anew, by torch's global generator; return their parameters."""
        if not self.spec.refresh:
            return []
        drawn = torch.rand(len(self.heads)) < self.spec.refresh
        chosen = [head for head, yes in zip(self.heads, drawn.tolist(), strict=True) if yes]
        for module in (module for head in chosen for module in head.modules()):
            if isinstance(module, nn.Linear | nn.Embedding):
                module.reset_parameters()
        return [parameter for head in chosen for parameter in head.parameters()]

    def _drawn(self, number: int) -> list[int]:
        count = len(self.columns)
        if self.spec.drawn is None:
            return list(range(count))
        order = torch.randperm(count, generator=torch.Generator().manual_seed(number))
        return sorted(order[: self.spec.drawn].tolist())

    def _known(self, c: Tensor | None) -> Tensor | None:
        """Return what heads are told of a condition: of a text the mean of the states that the body reads."""
        reader = reader_of(self.body)
        return c if reader is None or c is None else reader.read(c, len(c)).mean(1)

    def _listen(self, x: Tensor, label: Tensor, c: Tensor | None, taps: Collection[str]) -> dict[str, Tensor]:
        """Return what the body says at the taps."""
        found: dict[str, Tensor] = {}
        with changing(self.body, {tap: partial(found.__setitem__, tap) for tap in sorted(taps)}):
            self.body(x, label, c)
        return found

    def _judge(self, column: int, features: Tensor, label: Tensor, c: Tensor | None) -> Tensor:
        """Return the logits of a head, of each item by that of its level."""
        values, count = _summed(features, self.columns[column][1]), max(len(self.levels), 1)
        heads = list(self.heads)[column * count : (column + 1) * count]
        if count == 1:
            return heads[0](values, label, c)  # type: ignore[no-any-return]
        nearest = (label.double()[:, None] - self.levels).abs().argmin(1)
        rows = [torch.nonzero(nearest == i)[:, 0] for i in range(count)]
        met = [(head, own) for head, own in zip(heads, rows, strict=True) if len(own)]
        said = [head(values[own], label[own], None if c is None else c[own]) for head, own in met]
        return torch.cat(said)[torch.cat([own for _, own in met]).argsort()]


def _summed(features: Tensor, kind: Kind) -> Tensor:
    """Return what a head of that kind looks at, (b, places, values)."""
    places = features.flatten(2) if features.ndim > 2 else features[..., None]
    if kind == "local":
        return places.transpose(1, 2)
    return torch.cat([places.mean(2), places.var(2, correction=0).add(1e-6).sqrt()], 1)[:, None]
