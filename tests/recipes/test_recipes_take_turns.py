"""Every recipe with a student and a critic: who has a graph in whose turn, and where gradients end."""

import pytest
import torch
from accelerate import Accelerator

import fewstep as fs
from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.draws import Draws
from fewstep.networks import UNet
from fewstep.process import EDM
from fewstep.recipes import assemble, load_recipe, paper_names
from fewstep.scalars import Progress
from fewstep.times import Karras
from fewstep.turn import Turn

SETTINGS = {"channels": 1, "classes": 10, "widths": [8, 8], "depth": 1}
FAMILIES = ("distribution matching", "adversarial")
GAMES = [
    name for name in paper_names() if (it := load_recipe(name)).family in FAMILIES and len(it.learners) > 1
]  # fmt: skip


def teacher() -> fs.Model:
    torch.manual_seed(0)
    net = UNet(**SETTINGS)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    view = Denoiser(net.requires_grad_(False).eval(), EDM(sigma_data=0.7))
    return fs.Model(view, fs.ManyStep(Karras()), (1, 8, 8), tuple("0123456789"), {"unet": SETTINGS})


def batch() -> Batch:
    x0, z = torch.randn(2, 2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return Batch(x0, torch.tensor([0, 7]), z)


@pytest.mark.parametrize("name", GAMES)
def test_nobody_but_the_learner_has_a_graph_or_a_gradient(name: str):
    """All terms of a turn, late in the training: samples carry a graph in the student's turn alone."""
    given = teacher()
    training = assemble(load_recipe(name), batch(), 10, given, 0, given).training
    training.prepare(Accelerator(cpu=True))
    nets = [given.view.net, *(learner.bare for learner in training.learners.values())]
    for me, learner in training.learners.items():
        with training.only(me) as views:
            turn = Turn(me, views, batch(), Draws(1, torch.device("cpu")), training.rollout, Progress(90, 100))
            sum(term(turn).mean() for _, term in learner.terms.items()).backward()
            assert turn.samples.x0.requires_grad == (me == "student")
            mine = {id(parameter) for parameter in learner.parameters.values()}
            touched = {id(p) for net in nets for p in net.parameters() if p.grad is not None}
            assert touched
            assert touched <= mine
            learner.bare.zero_grad()


def test_all_games_are_there():
    assert {"dmd2", "f-distill", "sid", "sfd", "disback", "msd", "tdm", "ladd", "ufogen", "nitrofusion"} < {*GAMES}
