"""A trained generator: its network's view, its sampler, and what it makes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from fewstep.denoiser import Denoiser
from fewstep.errors import DataError, RecipeError
from fewstep.guidance import CFG, EditCFG, Guidance
from fewstep.labels import label_index
from fewstep.sampling import Sampler

__all__ = ["Model"]


@dataclass(frozen=True)
class Model:
    """A teacher or a student, ready to sample.

    ``shape`` is that of one item, ``classes`` the names of its labels (empty: none), ``condition`` the shape of one
    condition where it is no label, ``network`` the words from which the network is built (``{name: settings}``),
    ``facts`` what is known about its training, ``at_once`` how many items it samples together, at most.
    """

    view: Denoiser
    sampler: Sampler
    shape: tuple[int, ...]
    classes: tuple[str, ...] = ()
    network: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    condition: tuple[int, ...] = ()
    at_once: int = 512

    @property
    def conditional(self) -> bool:
        """Whether it takes conditions: labels, or tensors of the shape ``condition``."""
        return bool(self.classes or self.condition)

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

    def under(self, *rules: Guidance) -> "Model":
        """Return the model with guidance rules on top of those of its sampler; the network is the same object."""
        sampler = replace(self.sampler, guidance=(*self.sampler.guidance, *rules))  # type: ignore[type-var]
        return replace(self, sampler=sampler)

    def guided(self, scale: float) -> "Model":
        """Return the model at another guidance scale: the one that its network is told, or that of its guidance rule.

        Raises ``RecipeError`` for a model that has neither.
        """
        sampler, rules = self.sampler, list(self.sampler.guidance)
        if sampler.scale is not None:
            return replace(self, sampler=replace(sampler, scale=scale))  # type: ignore[type-var]
        for i, rule in enumerate(rules):
            if isinstance(rule, CFG | EditCFG):
                rules[i] = replace(rule, scale=scale)
                return replace(self, sampler=replace(sampler, guidance=tuple(rules)))  # type: ignore[type-var]
        raise RecipeError(
            f"a guidance scale of {scale:g} was asked for, but this model is sampled without guidance and its network "
            "is told no scale: how strongly it is guided was fixed when it was trained. Leave the scale out "
            "(--guidance); a student that takes one as an input comes from a recipe such as lcm ('inputs: [scale]')."
        )

    def sample(
        self,
        seeds: Sequence[int],
        labels: int | str | Sequence[int] | Tensor | None = None,
        steps: int | None = None,
        batch: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        negative: int | str | Sequence[int] | Tensor | None = None,
    ) -> Tensor:
        """Return one item per seed, (seeds, *shape), on the CPU in float32, data range [-1, 1].

        ``labels``: one class (name or index) for all, one index per seed, or None for no condition; where conditions
        are tensors, one for all, (*condition), or one per seed, (seeds, *condition).  ``negative``: likewise, the
        condition to stay away from.  ``batch`` items are sampled together, by default ``at_once``.  Item i depends on
        its seed and conditions only, up to rounding.

        Raises ``DataError`` for a condition that does not exist and for a negative one where nothing takes it, and
        ``RecipeError`` for more steps than the schedule allows and for a rule that the network cannot take.
        """
        count, seeds = self.steps if steps is None else steps, list(seeds)
        together = self.at_once if batch is None else batch
        parameter = next(self.view.net.parameters(), torch.zeros(()))
        c, away, done = self.conditions(labels, len(seeds)), self._negative(negative, len(seeds), count), []
        training = self.view.net.training
        self.view.net.eval()
        for start in range(0, len(seeds), together):
            part = slice(start, start + together)
            cond, shun = (None if each is None else each[part].to(parameter.device) for each in (c, away))
            done.append(self.sampler.sample(self.view, seeds[part], self.shape, cond, count, shun).cpu())
            if progress is not None:
                progress(min(start + together, len(seeds)), len(seeds))
        self.view.net.train(training)
        return torch.cat(done) if done else torch.empty(0, *self.shape)

    def conditions(self, labels: int | str | Sequence[int] | Tensor | None, items: int) -> Tensor | None:
        """Turn labels into what the network is given, or None for an unconditional model.

        That is (items,) int64, or float32 (items, *condition).
        """
        if self.condition:
            return self._tensors(labels, items)
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

    def _negative(self, given: int | str | Sequence[int] | Tensor | None, items: int, steps: int) -> Tensor | None:
        """Turn a negative condition into what is given to the sampler, or None when there is none."""
        if given is None:
            return None
        if not self.sampler.takes_negative(self.view, steps):
            raise DataError(
                "a negative condition was given, but nothing here takes one: neither the network, nor a guidance rule "
                "of the sampler at a scale other than 1 (in the attention, other than 0) and in an interval that has "
                f"any of the {steps} steps. Leave it out. Or, for a student of a pipeline that reads text, put a rule "
                "into its attention: model.under(NAG()), or `fewstep sample --nag 4`. Or use a student that was "
                "trained with `guide: negatives`, for example by the recipe speedupnet."
            )
        return self.conditions(given, items)

    def _tensors(self, given: object, items: int) -> Tensor:
        """Return one condition tensor per item; zeros, which ask for nothing, when none is given."""
        if given is None:
            return torch.zeros(items, *self.condition)
        if not isinstance(given, Tensor) or given.shape not in ((items, *self.condition), self.condition):
            form = f"shape {tuple(given.shape)}" if isinstance(given, Tensor) else f"{given!r}"
            raise DataError(
                f"{items} seeds came with conditions of {form}; this model takes a tensor of shape {self.condition}, "
                f"or {(items, *self.condition)} with one condition per seed, such as those of its data (batch.c)."
            )
        return given.float().expand(items, *self.condition)
