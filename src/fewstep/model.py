"""A trained generator: its network's view, its sampler, and what it makes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fewstep.denoiser import Denoiser
from fewstep.errors import DataError
from fewstep.labels import label_index
from fewstep.sampling import Sampler

__all__ = ["Model"]


@dataclass(frozen=True)
class Model:
    """A teacher or a student, ready to sample.

    ``shape`` is that of one item, ``classes`` the names of its labels (empty: unconditional), ``network`` the words
    from which the network is built (``{name: settings}``), ``facts`` what is known about its training.
    """

    view: Denoiser
    sampler: Sampler
    shape: tuple[int, ...]
    classes: tuple[str, ...] = ()
    network: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """The number of steps it samples with when nobody asks for another one."""
        return self.sampler.made_for[0]

    def calls(self, steps: int | None = None) -> int:
        """Return the network calls per item."""
        return self.sampler.calls(self.steps if steps is None else steps)

    def to(self, device: torch.device | str) -> "Model":
        """Move the network to a device, in place, and return the model."""
        self.view.net.to(device)
        return self

    def sample(
        self,
        seeds: Sequence[int],
        labels: int | str | Sequence[int] | Tensor | None = None,
        steps: int | None = None,
        batch: int = 512,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Return one item per seed, (seeds, *shape), on the CPU in float32, data range [-1, 1].

        ``labels``: one class (name or index) for all, one index per seed, or None for no condition.  Item i depends
        on its seed and label only, up to rounding.  Raises ``DataError`` for a label that does not exist and
        ``RecipeError`` for more steps than the schedule allows.
        """
        count, seeds = self.steps if steps is None else steps, list(seeds)
        parameter = next(self.view.net.parameters(), torch.zeros(()))
        c, done = self.conditions(labels, len(seeds)), []
        training = self.view.net.training
        self.view.net.eval()
        for start in range(0, len(seeds), batch):
            part = slice(start, start + batch)
            cond = None if c is None else c[part].to(parameter.device)
            done.append(self.sampler.sample(self.view, seeds[part], self.shape, cond, count).cpu())
            if progress is not None:
                progress(min(start + batch, len(seeds)), len(seeds))
        self.view.net.train(training)
        return torch.cat(done) if done else torch.empty(0, *self.shape)

    def conditions(self, labels: int | str | Sequence[int] | Tensor | None, items: int) -> Tensor | None:
        """Turn labels into what the network is given, (items,) int64, or None for an unconditional model."""
        if not self.classes:
            if labels is not None:
                raise DataError("a label was given, but this model is unconditional; leave the label out.")
            return None
        if labels is None:
            return torch.full((items,), -1)
        if isinstance(labels, int | str):
            labels = [label_index(str(labels), self.classes, "this model")] * items
        c = torch.as_tensor(labels, dtype=torch.int64)
        if c.shape != (items,) or (items and not -1 <= int(c.min()) <= int(c.max()) < len(self.classes)):
            raise DataError(
                f"{items} seeds came with labels of shape {tuple(c.shape)} from {c.min()} to {c.max()}; accepted is "
                f"one label per seed from 0 to {len(self.classes) - 1}, or -1 for no class."
            )
        return c
