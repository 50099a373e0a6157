"""Pocket teachers: small diffusers pipelines of the great families, from captioned shapes and nothing else."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from fewstep.data import Shapes
from fewstep.errors import RecipeError, WeightsError
from fewstep.files import whole_folder, write_whole
from fewstep.interop import Encoded, Pipe, open_pipe
from fewstep.interop.bridge import family_named
from fewstep.interop.open import INDEX
from fewstep.interop.own import FACTS
from fewstep.interop.pocket import Pocket, build, learn_to_code, learn_to_read, share_coded, share_read
from fewstep.interop.quiet import quiet
from fewstep.jobs.fit import Options, fit
from fewstep.jobs.machine import this_machine
from fewstep.jobs.progress import bar
from fewstep.model import Model
from fewstep.predict import Eps, Prediction, V
from fewstep.recipes import Recipe, load_recipe, read, spell
from fewstep.versions import hardware, versions

__all__ = ["Effort", "Painter", "Plan", "is_finished", "share_right", "train_pocket"]

BEGUN = "begun.json"
GUIDANCE = 3.0  # best for shapes: with 7.5, the scale of the real ones, a third of the pairs of objects is wrong
NETWORK = "fewstep.interop.pocket.Begun"
CORPUS = 5  # seed of the corpus whose captions are asked for: another one than that which is learned
FIRST_SEED = 3_000_000  # of the images that are asked for
WEIGHTS: Mapping[type[Prediction], str] = {V: "snr_plus_one", Eps: "{min_snr: {cap: 5}}"}  # else that of the velocity


@dataclass(frozen=True)
class Effort:
    """How many updates autoencoder and text encoders get, and how many captions of each kind are asked for at the
    end."""

    code: int = 2500  # ours: after 1,500 of 96 to 99 % of the images the reconstruction was read right, at 16 pixels
    read: int = 1000  # ours: of every caption everything is then read right
    asked: int = 300


@dataclass(frozen=True)
class Plan:
    """What is going to be trained: a ``family``, how small, by how many updates, with which changes to the recipe.

    Make it with ``Plan.of``, which raises ``RecipeError`` for an unknown family.
    """

    family: str
    pocket: Pocket
    data: Mapping[str, Any]
    seed: int = 0
    settings: tuple[str, ...] = ()
    effort: Effort = field(default_factory=Effort)

    @classmethod
    def of(cls, family: str, data: Shapes, options: Options) -> "Plan":
        """Return the plan for data: sizes that follow those of the images."""
        about = {"name": data.name, "size": data.shape[-1], "fingerprint": data.fingerprint()}
        plan = cls(family, Pocket.of(data.shape[-1]), about, options.seed, tuple(options.settings))
        plan.recipe()
        return plan

    def begin(self) -> Pipe:
        """Return the pipeline before any training."""
        side = self.pocket.side
        return Pipe(build(self.family, self.pocket, self.seed), family_named(self.family), "", (side, side))

    @cached_property
    def untrained(self) -> Pipe:
        """One that nobody trains, to be asked what it is like."""
        return self.begin()

    @property
    def pipeline(self) -> str:
        """The class of the pipeline."""
        return type(self.untrained.pipeline).__name__

    def parts(self) -> dict[str, int]:
        """Return how many parameters each part has."""
        parts = {name: part for name, part in self.untrained.pipeline.components.items() if isinstance(part, nn.Module)}
        return {name: sum(parameter.numel() for parameter in part.parameters()) for name, part in parts.items()}

    def recipe(self, begun: str = "") -> Recipe:
        """Return the recipe for the backbone of the pipeline in the folder ``begun``.

        On the path of its scheduler; the error counts as that of what the backbone puts out.  What the plan's settings
        say of the network is told it besides.
        """
        path, prediction = self.untrained.path
        own = [
            f"learners.student.prediction={type(prediction).__name__.lower()}",
            f"learners.student.objective.0.denoise.weight={WEIGHTS.get(type(prediction), 'velocity_weight')}",
        ]
        place = str(files("fewstep.interop.pocket") / "pocket.yaml")
        network = read(place).with_settings(self.settings).values["learners"]["student"]["network"]
        told = {name: value for name, value in network.items() if name != NETWORK} | {"folder": begun}
        last = f"learners.student.network={{{NETWORK}: {json.dumps(told)}}}"
        return replace(load_recipe(place, [*own, *self.settings, last]), process=path)

    def words(self) -> dict[str, Any]:
        """Return the plan as it is written down."""
        words: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return words


def is_finished(folder: Path) -> bool:
    """Say whether a pocket pipeline was trained into that folder."""
    return (folder / FACTS).is_file()


def train_pocket(plan: Plan, data: Shapes, options: Options) -> dict[str, Any]:
    """Train a pipeline into ``options.folder``; return what is known of it, as it stands there in ``pocket.json``.

    First the autoencoder, then the text encoders, then, with both frozen, the backbone by the plan's recipe.
    An interrupted training continues with the part that it was at, the backbone from its last checkpoint; a finished
    one is not repeated.  Raises ``RecipeError`` when the folder holds another pipeline.
    """
    root, work = options.folder, options.folder / "training"
    if is_finished(root):
        return _finished(root, plan)
    begun = work / "begun"
    if not (begun / INDEX).is_file():
        _begin(plan, data, begun, options.show)
    pipe = open_pipe(begun, plan.untrained.size)
    pipe.pipeline.to(this_machine().device)
    known = Encoded(data, pipe, work)
    with bar("encoding", options.show) as move:
        known.prepare(move)
    name = f"pocket-{plan.family}"
    model = fit(plan.recipe(pipe.place), name, known, replace(options, out=work / "run", settings=()))
    net: Any = model.view.net
    pipe.backbone.load_state_dict(net.bridge.backbone.state_dict())
    right = share_right(pipe, model, data, plan.effort.asked)
    with quiet():
        pipe.pipeline.to("cpu").save_pretrained(root)
    facts: dict[str, Any] = json.loads((begun / BEGUN).read_text(encoding="utf-8"))
    facts = plan.words() | facts | _made(model) | {"right": right}
    write_whole(root / FACTS, (json.dumps(facts, indent=1) + "\n").encode())
    return facts


@runtime_checkable
class Painter(Protocol):
    """What captions and latents are to a model: a ``Pipe`` is one."""

    def conditions(self, texts: Sequence[str]) -> Tensor:
        """Return what the model is told of captions, one row each."""

    def decode(self, latents: Tensor) -> Tensor:
        """Return the images of latents, (b, 3, h, w) in [-1, 1]."""


def share_right(pipe: Painter, model: Model, data: Shapes, asked: int) -> dict[str, float]:
    """Return the share of captions of which the checker finds everything right, by the number of objects.

    The captions are those of other items than were learned from; the last ones say a colour of a shape that no item
    shows.
    """
    shares = {}
    for held_out in (False, True):
        corpus = Shapes(data.shape[-1], data.difficulty.name, CORPUS, 10 * asked, held_out)
        meanings = corpus.meanings(range(len(corpus)))
        for count in range(1, data.difficulty.most + 1):
            items = [i for i, meaning in enumerate(meanings) if len(meaning.things) == count][:asked]
            c = pipe.conditions(corpus.captions_of(items))
            images = pipe.decode(model.sample(range(FIRST_SEED, FIRST_SEED + len(items)), c)).cpu()
            verdicts = data.checker.verdicts(images, [meanings[i] for i in items])
            name = f"{count} object{'s' if count > 1 else ''}{', one held out' if held_out else ''}"
            shares[name] = sum(each.right for each in verdicts) / len(items)
    return shares


def _begin(plan: Plan, data: Shapes, folder: Path, show: bool) -> None:
    """Train everything but the backbone and save the pipeline, whole or not at all."""
    pipe, start = plan.begin(), perf_counter()
    pipe.pipeline.to(this_machine().device)
    with bar("training the autoencoder", show) as move:
        learn_to_code(pipe.coder, data, plan.effort.code, plan.seed, move)
    coded = perf_counter()
    with bar("training the text encoders", show) as move:
        head = learn_to_read(pipe, data, plan.effort.read, plan.seed, move)
    about = {
        "autoencoder seconds": round(coded - start, 1),
        "text encoder seconds": round(perf_counter() - coded, 1),
        "reconstructions read right": share_coded(pipe, data, plan.effort.asked),
        "captions read right": share_read(pipe, head, data, plan.effort.asked),
    }
    with whole_folder(folder) as draft, quiet():
        pipe.pipeline.to("cpu").save_pretrained(draft)
        write_whole(draft / BEGUN, (json.dumps(about, indent=1) + "\n").encode())


def _made(model: Model) -> dict[str, Any]:
    """Say how the backbone was trained, how its samples were made, and the scale that they are best made with."""
    facts = {name: model.facts[name] for name in ("training seconds", "trained steps", "best step")}
    return facts | {
        "guidance": GUIDANCE,
        "steps": model.steps,
        "calls": model.calls(),
        "sampler": spell(model.sampler),
        "hardware": hardware(),
        "versions": versions(),
    }


def _finished(root: Path, plan: Plan) -> dict[str, Any]:
    """Return the facts of a finished pipeline; raise ``RecipeError`` when it is another one than planned."""
    try:
        facts: dict[str, Any] = json.loads((root / FACTS).read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{root / FACTS} cannot be read ({error}). Restore it, or give another --out.") from error
    wanted = plan.words()
    if other := [key for key in wanted if facts.get(key) != wanted[key]]:
        raise RecipeError(
            f"{root} holds another pipeline: {other[0]} is {facts.get(other[0])!r} there, {wanted[other[0]]!r} here. "
            "Give another --out, remove the folder, or ask for the pipeline that is there."
        )
    return facts
