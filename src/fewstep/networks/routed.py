"""Several small networks in the place of one: each serves a part of the conditions."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fewstep.errors import RecipeError

__all__ = ["Routed"]


class Routed(nn.Module):
    """``net(x, label, c, ...)``: the items of class c go through the network of the part that holds c, and no other.

    ``parts`` is the number of parts, of classes in a row and as equal as they can be, or the parts as lists of
    classes; each gets a copy of ``body``, weights and all.  An item without a class (-1) goes through the first one.
    An item costs one call of one body, whatever the number of parts.
    Raises ``RecipeError`` for an empty part, for a class that is in no part or in two, and without classes.
    Source: multi-student distillation, arXiv 2410.23274, section 4.1 (parts of equal size).
    """

    owner: Tensor
    """The number of the part of each class, and of none."""

    def __init__(self, body: nn.Module, parts: int | Sequence[Sequence[int]], classes: int = 0) -> None:
        super().__init__()
        groups = partition(parts, classes)
        owner = torch.zeros(classes + 1, dtype=torch.int64)  # the last one is that of -1
        for number, group in enumerate(groups):
            owner[list(group)] = number
        self.register_buffer("owner", owner, persistent=False)
        self.bodies = nn.ModuleList(copy.deepcopy(body) for _ in groups)

    @property
    def partial(self) -> bool:
        """Whether some of the bodies may have no item in a turn."""
        return len(self.bodies) > 1

    def forward(self, x: Tensor, label: Tensor, c: Tensor | None = None, *rest: Tensor | None) -> Tensor:
        """Return what the bodies say, the shape of x."""
        part = torch.zeros(len(x), dtype=torch.int64, device=x.device) if c is None else self.owner[c]
        out = torch.empty_like(x)
        for number, body in enumerate(self.bodies):
            mine = (part == number).nonzero()[:, 0]
            if len(mine):
                told = [None if each is None else each[mine] for each in (c, *rest)]
                out = out.index_copy(0, mine, body(x[mine], label[mine], *told))
        return out


def partition(parts: int | Sequence[Sequence[int]], classes: int) -> list[list[int]]:
    """Return the classes of each part; every class is in exactly one.  Raises ``RecipeError`` when it is not so."""
    if classes < 1:
        raise RecipeError("parts of the conditions are asked for, but the data have no classes; leave 'routed' out.")
    if isinstance(parts, int):
        if not 1 <= parts <= classes:
            raise RecipeError(f"{parts} parts were asked for of {classes} classes; accepted are 1 to {classes}.")
        return [list(range(classes * k // parts, classes * (k + 1) // parts)) for k in range(parts)]
    groups = [list(group) for group in parts]
    named = sorted(each for group in groups for each in group)
    if any(not group for group in groups) or named != list(range(classes)):
        twice = sorted({each for each in named if named.count(each) > 1})
        missing = sorted(set(range(classes)) - set(named))
        strange = sorted(set(named) - set(range(classes)))
        said = [f"part {i} is empty" for i, group in enumerate(groups) if not group]
        said += [f"{word}: {found}" for word, found in (("in two", twice), ("in none", missing)) if found]
        said += [f"no classes: {strange}"] if strange else []
        raise RecipeError(f"the parts {groups} do not hold each of {classes} classes once ({'; '.join(said)}).")
    return groups
