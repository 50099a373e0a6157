"""In a turn of any recipe one learner learns, and nobody else is touched."""

from collections.abc import Iterator
from itertools import product

import pytest
import torch
from accelerate import Accelerator
from torch import nn

import fewstep as fs
from fewstep.batch import Batch
from fewstep.data import NotesWave
from fewstep.jobs.calibrate import go_to
from fewstep.jobs.stages import foresee
from fewstep.networks import Headed
from fewstep.recipes import Assembly, Recipe, assemble, load_recipe, paper_names
from fewstep.training import Learner, Rollout, train
from fewstep.turn import Rolled

GAMES = [name for name in paper_names() if len(load_recipe(name).learners) > 1]
ALIKE = {  # their learners are put together as those of disback, dmd2, add or scott, and tests/terms has their terms
    *("decoupled-dmd", "diff-instruct", "dmd", "dmd2-no-gan", "f-distill", "ladd", "sid", "sim", "snoopi", "tdm"),
}
SMALL = {
    "msd-tsm": ["learners.student.network.routed.body.unet.widths=[8]"],
    "edm-wave": ["learners.student.network.unet1d.widths=[8, 8]"],
}


@pytest.fixture(scope="module")
def sounds() -> tuple[fs.Model, Batch]:
    data = NotesWave(0, 2)
    return foresee(load_recipe("edm-wave", SMALL["edm-wave"]), data, [], None), data.batch(range(2))


def in_turn(name: str) -> Recipe:
    """Return a recipe whose learners have a turn on every batch, from the first one on."""
    names = load_recipe(name).learners
    return load_recipe(name, [f"learners.{each}.{key}" for each in names for key in ("after=0", "every=1")])


def put_together(name: str, given: fs.Model, batch: Batch) -> Assembly:
    recipe, classes, origin = in_turn(name), len(given.classes), given
    if recipe.begins:
        given = foresee(load_recipe(recipe.begins, SMALL.get(recipe.begins, [])), fs.Digits(), [], given)
    return assemble(recipe, batch, classes, given, 0, origin)


class Watched(Rollout):
    """Keeps whether samples carry a graph."""

    def __init__(self, inner: Rollout) -> None:
        self.inner, self.seen = inner, list[bool]()

    def __call__(self, *given) -> Rolled:
        made = self.inner(*given)
        self.seen.append(made.x0.requires_grad)
        return made


def networks(assembly: Assembly, *more: nn.Module) -> Iterator[nn.Module]:
    """Yield every network of the game, with averages."""
    yield from more
    yield from assembly.beside
    for learner in assembly.training.learners.values():
        yield learner.bare
        yield from (follower.net for follower in learner.followers.values())


def numbers(nets: list[nn.Module], but: Learner) -> list[torch.Tensor]:
    """Return copies of all weights and buffers, without those of a learner and of its averages."""
    own = {id(p) for net in (but.bare, *(each.net for each in but.followers.values())) for p in net.parameters()}
    own -= {id(p) for name, p in but.bare.named_parameters() if name not in but.parameters}
    return [p.clone() for net in nets for p in (*net.parameters(), *net.buffers()) if id(p) not in own]


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in ALIKE else ()) for n in GAMES])
def test_in_a_turn_one_learner_alone_learns_and_no_other_is_touched(
    name: str, young: fs.Model, pairs: Batch, sounds, monkeypatch: pytest.MonkeyPatch
):
    """As at the beginning and late, the student last, as it learns nothing from a fake score that is its teacher still.

    Samples carry a graph in its turn only.
    """
    given, batch = sounds if name == "periodwave-turbo" else (young, pairs)
    assembly = put_together(name, given, batch)
    training, accelerator = assembly.training, Accelerator(cpu=True)
    training.rollout = watched = Watched(training.rollout)
    training.prepare(accelerator)
    nets = list(networks(assembly, given.view.net))
    everything = {id(p): p for net in nets for p in net.parameters()}
    learning, reached, moved, backward = set[int](), set[int](), set[str](), accelerator.backward

    def watch(cost: torch.Tensor) -> None:
        learning.update(key for key, p in everything.items() if p.requires_grad)
        backward(cost)
        reached.update(key for key, p in everything.items() if p.grad is not None)

    monkeypatch.setattr(accelerator, "backward", watch)
    for place, (title, learner) in product((0.0, 0.9), reversed(training.learners.items())):
        go_to(training, place)
        monkeypatch.setattr(training, "due", lambda step, title=title: [title])
        before, others = [p.clone() for p in learner.parameters.values()], numbers(nets, learner)
        for seen in (learning, reached, watched.seen):
            seen.clear()
        next(train(training, [batch], accelerator))
        own = {id(p) for p in learner.parameters.values()}
        assert learning == own
        assert reached <= own if isinstance(learner.bare, Headed) else reached == own  # a body ends at its last tap
        assert all(map(torch.equal, others, numbers(nets, learner)))
        moved |= {title} if not all(map(torch.equal, before, learner.parameters.values())) else set()
        assert set(watched.seen) <= {title == "student"}
        assert watched.seen or title == "student"
    assert moved == set(training.learners)
