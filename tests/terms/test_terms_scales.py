"""A guidance scale that is drawn: the student is told it, and the teacher follows it item by item."""

import pytest
import torch
from torch import Tensor, nn

from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.draws import Draws
from fewstep.errors import RecipeError
from fewstep.guidance import CFG
from fewstep.networks import MLP, DiT, UNet
from fewstep.pairs import Cells, Moment
from fewstep.points import Even
from fewstep.predict import X0
from fewstep.process import EDM
from fewstep.solvers import DDIM, Heun
from fewstep.terms import Averaged, Consistency, Scales, TeacherBridge
from fewstep.testing import Classes, Gaussian, Given, check_term, small_views, time_of
from fewstep.times import Karras
from fewstep.training import OneStep
from fewstep.turn import Noised, Turn

PATH, ITEMS, STD = EDM(), 12, 0.6
MEANS = torch.tensor([[1.0, -0.5], [-2.0, 0.3], [0.4, 0.2]], dtype=torch.float64)  # two classes, and none
WORLD = Classes(PATH, MEANS, STD)


class Exact(nn.Module):
    """The flow map to 0 of the guided law of each scale, plus a parameter that is 0."""

    def __init__(self, deaf: bool = False) -> None:
        super().__init__()
        self.shift, self.deaf = nn.Parameter(torch.zeros((), dtype=torch.float64)), deaf

    def forward(self, x: Tensor, label: Tensor, c: Tensor, scale: Tensor) -> Tensor:
        told = torch.full_like(scale, 2.0) if self.deaf else scale
        mean = MEANS[-1] + told[:, None] * (MEANS[c] - MEANS[-1])
        t = time_of(PATH, label)
        return Gaussian(PATH, mean, STD).flow(x, t, 0 * t) + self.shift


def turn_of(net: nn.Module, draws: Draws | None = None) -> Turn:
    x0 = torch.randn(ITEMS, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    student = Denoiser(net, PATH, X0())
    views = {"student": student, "student.target": student, "teacher": WORLD}
    return Turn("student", views, Batch(x0, torch.arange(ITEMS) % 2), draws or Draws(1, x0.device), OneStep(80.0))


def test_scales_are_uniform_between_their_ends_and_told_the_student():
    u = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    scale = Scales(1.5, 4.0).draw(u)
    assert scale.min().item() == pytest.approx(1.5, abs=2e-3)
    assert scale.max().item() == pytest.approx(4.0, abs=2e-3)
    assert scale.mean().item() == pytest.approx(2.75)
    turn = Scales(1.5, 4.0)(turn_of(Exact(), Given([], [u[:ITEMS]])))
    assert torch.equal(turn.denoiser().inputs["scale"], scale[:ITEMS])
    assert torch.equal(turn.denoiser("student.target").inputs["scale"], scale[:ITEMS])


def test_scales_in_the_wrong_order_are_refused():
    with pytest.raises(RecipeError, match="accepted is low <= high"):
        Scales(4.0, 1.5)


@pytest.mark.parametrize("solver", [DDIM(), Heun()], ids=str)
def test_bridge_follows_the_scale_of_each_item(solver):
    u = torch.rand(ITEMS, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    turn = Scales(0.0, 4.0)(turn_of(Exact(), Given([], [u])))
    t, r = torch.full((2, ITEMS), 5.0, dtype=torch.float64) * torch.tensor([[1.0], [0.4]]).double()
    x = 5 * turn.batch.x0
    found = TeacherBridge(solver=solver, substeps=2)(turn, Noised(x, t, x, x), r)
    for i in range(ITEMS):
        alone = turn_of(Exact())
        views = {**alone.views, "teacher": CFG(4 * u[i].item())(WORLD)}
        one = Turn("student", views, alone.batch.cut(i, i + 1), alone.draws, alone.rollout)
        item = Noised(x[i : i + 1], t[i : i + 1], x[i : i + 1], x[i : i + 1])
        wanted = TeacherBridge(solver=solver, substeps=2)(one, item, r[i : i + 1])
        assert torch.allclose(found[i : i + 1], wanted, rtol=1e-12)


@pytest.mark.parametrize("deaf", [False, True])
def test_flow_map_of_each_scale_leaves_little_cost_and_a_deaf_one_does_not(deaf: bool):
    grid = Cells(Karras(0.02, 20.0), Even(9))
    bridge = TeacherBridge(solver=Heun(), substeps=32)
    term = Consistency(grid, bridge=bridge, target=Averaged("target"), guide=Scales(1.0, 4.0))
    cost = term(turn_of(Exact(deaf)))
    assert (cost.max() < 1e-6) != deaf
    assert (cost.mean() > 1e-3) == deaf


def test_scale_of_each_item_equals_one_number_for_all():
    x = torch.randn(ITEMS, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    c, t = torch.arange(ITEMS) % 2, torch.linspace(0.1, 9.0, ITEMS, dtype=torch.float64)
    for scale in (0.0, 1.0, 2.5):
        each = torch.full((ITEMS,), scale, dtype=torch.float64)
        assert torch.allclose(CFG(each)(WORLD)(x, t, c), CFG(scale)(WORLD)(x, t, c), rtol=1e-12)
    assert CFG(torch.ones(3).double()).passes == CFG(2.0).passes == 2
    assert CFG(1.0).passes == 1


NETS = {
    "mlp": (lambda **more: MLP(features=3, classes=2, width=16, depth=1, **more), (3,)),
    "unet": (lambda **more: UNet(channels=3, classes=2, widths=(8, 16), **more), (3, 8, 8)),
    "dit": (lambda **more: DiT(channels=3, classes=2, width=32, depth=1, **more), (3, 8, 8)),
}


@pytest.mark.parametrize("name", NETS)
def test_scale_starts_silent_and_can_learn_to_speak(name: str):
    """A teacher's weights keep their meaning in a network that is told a scale."""
    build, shape = NETS[name]
    torch.manual_seed(0)
    net, wider = build(), build(scale=True)
    for parameter in net.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    missing = wider.load_state_dict(net.state_dict(), strict=False).missing_keys
    assert missing
    assert all(key.startswith("context.scale") for key in missing)
    x, label, c = torch.randn(4, *shape), torch.linspace(-1, 1, 4), torch.tensor([0, 1, 0, 1])
    plain, told = net(x, label, c), wider(x, label, c, scale=torch.full((4,), 3.0))
    assert torch.equal(plain, told)
    assert torch.equal(plain, wider(x, label, c))
    for parameter in wider.context.scale.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    assert not torch.allclose(wider(x, label, c, scale=torch.full((4,), 3.0)), wider(x, label, c, scale=torch.ones(4)))
    with pytest.raises(RecipeError, match="takes none; build it with scale: true"):
        net(x, label, c, scale=torch.ones(4))


def test_term_with_drawn_scales_teaches_the_learner_and_only_the_learner():
    nets = {name: MLP(features=2, classes=2, width=16, depth=1, scale=True).double() for name in small_views(PATH)}
    views = {name: Denoiser(net, PATH) for name, net in nets.items()}
    c, bridge = torch.arange(16) % 2, TeacherBridge()
    term = Consistency(Cells(Karras(0.02, 8.0)), bridge=bridge, target=Averaged("target"), guide=Scales(1.0, 3.0))
    check_term(term, PATH, views=views, c=c)
    check_term(Consistency(Moment(3.0, 0.0), bridge=bridge, guide=Scales(1.0, 3.0, 0.5)), PATH, views=views, c=c)
