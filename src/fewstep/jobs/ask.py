"""What is planned: a recipe for a teacher, on items like those of the training, and a machine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from fewstep.batch import Batch
from fewstep.evaluate import Judge
from fewstep.model import Model
from fewstep.recipes import Assembly, PairsSpec, Recipe, assemble, numbered
from fewstep.training.held import Held, held_by
from fewstep.types import X

__all__ = ["Ask", "resized"]


@dataclass(frozen=True)
class Ask:
    """What is planned: a recipe for a teacher, and the machine.

    ``example`` are a few items like those of the training, of ``items`` in all; ``judge`` looks at samples meanwhile
    (None: at another resolution, and where there are no data, there is none).  ``memory`` are the bytes of a device
    (None: those that this one has), ``seconds`` how long updates are tried.  ``origin`` is where learners begin that
    come ``from: origin``, by default the teacher; ``pictures`` makes of samples what a judge looks at, where these are
    latents; ``besides`` are frozen networks that are no part of the teacher's but asked with it, such as a ControlNet.
    """

    recipe: Recipe
    teacher: Model
    example: Batch
    items: int
    judge: Judge | None = None
    devices: int = 1
    memory: float | None = None
    seconds: float = 30.0
    origin: Model | None = None
    pictures: Callable[[X], Tensor] | None = None
    besides: Mapping[str, nn.Module] = field(default_factory=dict)

    def assembled(self, recipe: Recipe) -> Assembly:
        """Return the learners of this or another recipe, on the CPU, where networks are built and checked."""
        origin = self.origin or self.teacher
        for model in (self.teacher, origin):
            model.to("cpu")
        known = numbered(recipe, self.teacher.classes)
        return assemble(known, self.example, len(self.teacher.classes), self.teacher, 0, origin)

    def frozen(self, recipe: Recipe, assembly: Assembly, cuda: bool) -> dict[str, nn.Module]:
        """Return the networks that are held and never learn: those of the recipe, and the models that were given.

        The teacher leaves an accelerator where the recipe keeps it in fewer bits.
        """
        frozen: dict[str, nn.Module] = dict(zip(recipe.frozen, assembly.beside, strict=True))
        given = {} if cuda and recipe.base is not None else {"teacher, as given": self.teacher.view.net}
        if self.origin is not None:
            given["origin, as given"] = self.origin.view.net
        known = {id(net) for net in frozen.values()}
        return frozen | {name: net for name, net in given.items() if id(net) not in known} | dict(self.besides)

    def held(self, recipe: Recipe, assembly: Assembly, cuda: bool) -> list[Held]:
        """Return what the networks hold; models that were given are left out where nothing of them is their own."""
        held = held_by(assembly.training, self.frozen(recipe, assembly, cuda))
        named = {*recipe.learners, *recipe.frozen}
        return [each for each in held if each.total or each.name in named]

    def batch(self, count: int) -> Batch:
        """Return as many items as asked for, over and over the same."""
        index = torch.arange(count) % len(self.example.x0)
        parts = (None if part is None else part[index] for part in (self.example.c, self.example.z, self.example.path))
        return Batch(self.example.x0[index], *parts)

    def conditions(self, model: Model, count: int) -> Tensor | None:
        """Return as many conditions, None for a model that takes none."""
        return self.batch(count).c if model.conditional else None

    def student(self, assembly: Assembly) -> Model:
        """Return the student as it is sampled."""
        shape = tuple(self.example.x0.shape[1:])
        return replace(self.teacher, view=assembly.student, sampler=self.recipe.sampler, shape=shape)


def resized(example: Batch, shape: tuple[int, ...], pairs: PairsSpec | None) -> Batch:
    """Return items of another shape, of noise: what an update takes does not depend on what is in them.

    ``pairs`` adds the noise and the states that stored pairs have.
    """
    draw, count = torch.Generator().manual_seed(0), len(example.x0)
    same = tuple(example.x0.shape[1:]) == shape
    x0 = example.x0 if same else torch.randn(count, *shape, generator=draw) * example.x0.std()
    if pairs is None:
        return Batch(x0, example.c)
    z = torch.randn(x0.shape, generator=draw)
    path = x0[:, None].expand(-1, pairs.steps, *shape).clone() if pairs.path else None
    return Batch(x0, example.c, z, path)
