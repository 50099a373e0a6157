"""Guidance that is drawn: the teacher follows what the student is told."""

import pytest
import torch
from torch import Tensor, nn

from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.draws import Draws
from fewstep.endpoints import Segments
from fewstep.errors import RecipeError
from fewstep.networks import MLP, Adapted
from fewstep.pairs import Cells, Moment
from fewstep.points import Even
from fewstep.predict import X0
from fewstep.process import EDM
from fewstep.solvers import DDIM, DPMSolver
from fewstep.terms import AtData, Averaged, Consistency, JumpBridge, Negatives, Scales, StoredBridge, TeacherBridge
from fewstep.testing import PATHS, Classes, Gaussian, check_term, small_views, time_of
from fewstep.times import Karras, Trailing
from fewstep.training import OneStep
from fewstep.turn import Noised, Turn

PATH, ITEMS, STD, SCALE = EDM(), 24, 0.6, 1.75
MEANS = torch.tensor([[1.0, -0.5], [-2.0, 0.3], [0.4, 0.2]], dtype=torch.float64)  # two classes, and none
WORLD = Classes(PATH, MEANS, STD)


class Exact(nn.Module):
    """The guided denoiser of each negative condition in closed form, plus a parameter that is 0."""

    def __init__(self, deaf: bool = False) -> None:
        super().__init__()
        self.shift, self.deaf = nn.Parameter(torch.zeros((), dtype=torch.float64)), deaf

    def forward(self, x: Tensor, label: Tensor, c: Tensor, negative: Tensor | None = None) -> Tensor:
        against = MEANS[-1] if negative is None or self.deaf else MEANS[negative]
        return Gaussian(PATH, against + SCALE * (MEANS[c] - against), STD)(x, time_of(PATH, label)) + self.shift


def turn_of(net: nn.Module, c: bool = True) -> Turn:
    x0 = torch.randn(ITEMS, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    student = Denoiser(net, PATH, X0())
    views = {"student": student, "student.ema": student, "teacher": WORLD}
    batch = Batch(x0, torch.arange(ITEMS) % 2 if c else None)
    return Turn("student", views, batch, Draws(1, x0.device), OneStep(80.0))


def test_negatives_are_other_items_conditions_or_none():
    turn = Negatives(SCALE, 0.5)(turn_of(Exact()))
    negative = turn.told["negative"]
    assert set(negative.tolist()) == {-1, 0, 1}
    assert 6 < (negative < 0).sum() < 18
    assert (Negatives(SCALE, 0.0)(turn_of(Exact())).told["negative"] == -1).all()
    assert (Negatives(SCALE, 1.0)(turn_of(Exact())).told["negative"] >= 0).all()


@pytest.mark.parametrize("solver", [DDIM(), DPMSolver()], ids=str)
def test_bridge_is_that_of_the_exactly_guided_gaussian(solver):
    turn = Negatives(SCALE, 0.7)(turn_of(Exact()))
    t, r = torch.full((ITEMS,), 5.0).double(), torch.full((ITEMS,), 0.8).double()
    x = 5 * turn.batch.x0
    noised = Noised(turn.batch.x0, t, turn.batch.x0, x)
    against = MEANS[turn.told["negative"]]
    guided = Gaussian(PATH, against + SCALE * (MEANS[turn.c] - against), STD)
    bridge = TeacherBridge(solver=solver, substeps=4)
    views = {"student": guided, "teacher": guided}
    by_hand = bridge(Turn("student", views, turn.batch, turn.draws, turn.rollout), noised, r)
    assert torch.allclose(bridge(turn, noised, r), by_hand, rtol=1e-10)
    fine = TeacherBridge(solver=solver, substeps=400)(turn, noised, r)
    assert torch.allclose(fine, guided.flow(x, t, r), rtol=1e-2, atol=1e-2)


def data_term(guide: Negatives) -> Consistency:
    """One DDIM step of the teacher to the data, which is its estimate: what the student is regressed on."""
    return Consistency(Moment(3.0, 0.0), bridge=TeacherBridge(solver=DDIM()), guide=guide)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_guided_denoiser_of_each_negative_condition_leaves_no_cost(share: float):
    term = data_term(Negatives(SCALE, share))
    turn = turn_of(Exact())
    term(turn).mean().backward()
    assert term(turn_of(Exact())).max() < 1e-12
    assert turn.views["student"].net.shift.grad.abs() < 1e-9
    assert (term(turn_of(Exact(deaf=True))).max() < 1e-12) == (share == 0)


def test_negatives_need_conditions():
    with pytest.raises(RecipeError, match="these data have no conditions"):
        data_term(Negatives(SCALE))(turn_of(Exact(), c=False))


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_is_one(share: float):
    with pytest.raises(RecipeError, match="accepted is 0 to 1"):
        Negatives(SCALE, share)


@pytest.mark.parametrize("guide", [Negatives(SCALE), Scales(1.0, 3.0)], ids=str)
def test_a_bridge_without_a_teacher_refuses_drawn_guidance(guide):
    with pytest.raises(RecipeError, match="the data bridge has no teacher"):
        Consistency(Moment(3.0, 0.5), guide=guide)(turn_of(Exact()))
    with pytest.raises(RecipeError, match="stored trajectories have one of their own"):
        Consistency(Moment(3.0, 0.5), bridge=StoredBridge(Karras()), guide=guide)(turn_of(Exact()))


class Listens(nn.Module):
    """Keeps what it was told, and changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[dict[str, Tensor]] = []

    def forward(self, x: Tensor, label: Tensor, c: Tensor | None = None, **told: Tensor) -> Tensor:
        self.heard.append(told)
        return x


@pytest.mark.parametrize("guide", [Negatives(SCALE), Scales(1.0, 3.0)], ids=str)
@pytest.mark.parametrize("bridge", [TeacherBridge(), JumpBridge()], ids=str)
def test_student_average_and_space_are_told_the_same(guide, bridge):
    net = Listens()
    Consistency(Moment(3.0, 0.5), bridge=bridge, target=Averaged("ema"), space=AtData("ema"), guide=guide)(turn_of(net))
    assert len(net.heard) == 4 + isinstance(bridge, JumpBridge)
    first = net.heard[0]
    assert len(first) == 1
    assert all(torch.equal(first[key], other[key]) for other in net.heard for key in first)


def test_nobody_is_told_anything_without_a_guide():
    net = Listens()
    Consistency(Moment(3.0, 0.5), bridge=TeacherBridge())(turn_of(net))
    assert net.heard == [{}, {}]


def adapted_views() -> dict[str, Denoiser]:
    views = small_views(PATHS["edm"])
    nets = {name: MLP(features=2, classes=2, width=16, depth=1).double() for name in views}
    nets |= {name: Adapted(net, {"middle.0": 16}, classes=2, width=16).double() for name, net in nets.items()}
    return {name: Denoiser(net, PATHS["edm"]) for name, net in nets.items()}


@pytest.mark.parametrize("space", [None, AtData("target")], ids=str)
def test_multi_step_consistency_teaches_the_learner_and_only_the_learner(space):
    grid = Trailing(20.0, 3.0)
    more = {} if space is None else {"space": space}
    cells, ends = Cells(grid, Even(5)), Segments(grid, Even(5))
    term = Consistency(cells, ends, bridge=TeacherBridge(substeps=4), guide=Negatives(SCALE), **more)
    check_term(term, PATHS["edm"], views=adapted_views(), c=torch.arange(16) % 2)


def test_segments_on_the_grid_of_the_cells_end_where_the_bridge_does():
    """So that the target does not move: G(x, r, r) = x."""
    grid = Trailing(20.0, 3.0)
    u = torch.linspace(0.01, 0.99, 16, dtype=torch.float64)
    t, r = Cells(grid, Even(5)).draw(PATH, u, turn_of(Exact()).progress)
    assert torch.equal(Segments(grid, Even(5)).draw(t, r, u, turn_of(Exact()).progress), r)
