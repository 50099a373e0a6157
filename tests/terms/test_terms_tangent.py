"""Continuous-time consistency against the formulas of sCM, MeanFlow and AYF, and at exact flow maps."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from fewstep import predict
from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.draws import Draws
from fewstep.endpoints import Beneath, Origin
from fewstep.guidance import CFG
from fewstep.process import EDM, Linear, TrigFlow, over
from fewstep.scalars import Piecewise, Progress
from fewstep.terms import (
    Adaptive,
    DataShare,
    DataSlope,
    MixedSlope,
    Square,
    Tangent,
    TeacherPath,
    TeacherSlope,
    Unit,
)
from fewstep.terms.tangent import along
from fewstep.testing import PATHS, Classes, Gaussian, Given, Jump, normal_points
from fewstep.times import Along, LogitNormal, LogNormal, Uniform
from fewstep.training import OneStep
from fewstep.turn import Noised, Turn

STD = 0.6


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def law_on(path, low: float = 0.05, high: float = 0.9) -> Along:
    top = 8.0 if isinstance(path, EDM) else path.t_max
    return Along(Uniform(0.0, top), low, high)


class Bent:
    """The exact flow map plus ``theta`` times a wave."""

    def __init__(self, world, theta: Tensor) -> None:
        self.jump, self.theta, self.process = Jump(world), theta, world.process

    def __call__(self, x, t, c=None, s=None):
        return self.jump(x, t, c, s) + self.theta * torch.sin(3 * x)


def slope_at(term: Tangent, world, theta: float) -> tuple[float, float]:
    """Return the gradient of the cost of a bent student, and the cost."""
    bend = column(theta)[0].requires_grad_(True)
    x0, z = torch.randn(2, 24, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u = torch.rand(2, 24, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    views = {"student": Bent(world, bend), "teacher": world}
    turn = Turn("student", views, Batch(x0), Given([z], list(u)), OneStep(1.0))
    cost = term(turn).mean()
    return torch.autograd.grad(cost, bend)[0].item(), cost.item()


ENDS = {"origin": lambda path: Origin(), "beneath": lambda path: Beneath(share=0.7)}
OUTPUTS = {"edm": predict.EDM(), "velocity": predict.Velocity(), "v": predict.V(), "x0": predict.X0()}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", ["edm", "linear", "linear shifted", "trigflow", "vp cosine"])
@pytest.mark.parametrize("output", OUTPUTS)
def test_gradient_vanishes_at_the_exact_map_and_only_there(name: str, end: str, output: str):
    """MeanFlow's identity and sCM's: dG/dt = 0 along the ODE, on every clock and to ten digits."""
    path = PATHS[name]
    world = Gaussian(path, column(0.4, -0.3), STD)
    term = Tangent(law_on(path), ENDS[end](path), slope=TeacherSlope(), output=OUTPUTS[output], taming=Square())
    slope, cost = slope_at(term, world, 0.0)
    assert cost * path.t_max**2 < 1e-18
    assert abs(slope) * path.t_max < 1e-9
    bent, cost = slope_at(term, world, 0.05)
    assert abs(bent) * path.t_max > 1e-4
    assert cost * path.t_max**2 > 1e-5


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", ["edm", "linear", "trigflow", "vp cosine"])
def test_data_velocity_has_mean_0_at_the_exact_map(name: str, end: str):
    """Over all (x0, z) of one x_t: the points are turned so that x_t lies along the first coordinate."""
    path = PATHS[name]
    world, points, weights = Gaussian(path, column(0.0), STD), *normal_points(6, 2)
    law, one = law_on(path, 0.6, 0.6), column(0.5)
    t = law.times(path, one)
    angle = torch.atan2(path.sigma(t), path.alpha(t) * STD)
    x0 = STD * (angle.cos() * points[:, :1] - angle.sin() * points[:, 1:])
    z = angle.sin() * points[:, :1] + angle.cos() * points[:, 1:]
    term = Tangent(law, ENDS[end](path), slope=DataSlope(), taming=Square())
    slopes = []
    for theta in (0.0, 0.05):
        bend = column(theta)[0].requires_grad_(True)
        draws = Given([z], [one, column(0.3)])
        cost = term(Turn("student", {"student": Bent(world, bend)}, Batch(x0), draws, OneStep(1.0)))
        assert cost.max() > 1e-8 / path.t_max**2  # single items are pulled about
        slopes.append(torch.autograd.grad(weights @ cost, bend)[0].item() * path.t_max)
    assert abs(slopes[0]) < 1e-9
    assert abs(slopes[1]) > 1e-3


def test_diagonal_is_flow_matching():
    """s = t: the cost is the squared error of the velocity, || (z - x0) - F ||^2, and does not vanish."""
    path, t = Linear(), column(0.2, 0.5, 0.9)
    world = Gaussian(path, column(0.4, -0.3), STD)
    x0, z = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    term = Tangent(Along(Uniform(0.0, 1.0), 0.0, 1.0), Beneath(share=0.25), taming=Square())
    draws = Given([z], [t, column(0.3, 0.6, 0.9)])
    cost = term(Turn("student", {"student": Jump(world)}, Batch(x0), draws, OneStep(1.0)))
    x = path.noise(x0, z, t)
    wanted = (z - x0 - path.velocity(x, world(x, t), t)).square().mean(1)
    assert torch.allclose(cost, wanted, rtol=1e-10)


# --- sCM


class Net(nn.Module):
    """A smooth random network F(x, label, label_s) of float64 points."""

    def __init__(self, features: int = 3) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.layers = nn.Sequential(nn.Linear(features + 2, 24), nn.Tanh(), nn.Linear(24, features)).double()

    def forward(self, x: Tensor, label: Tensor, c: Tensor | None = None, label_s: Tensor | None = None) -> Tensor:
        until = torch.zeros_like(label) if label_s is None else label_s
        return self.layers(torch.cat([x, label[:, None], until[:, None]], 1))


def turn_of(student, teacher=None, progress: Progress | None = None, items: int = 12) -> Turn:
    x0, z = torch.randn(2, items, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u = torch.rand(2, items, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    views = {"student": student} | ({} if teacher is None else {"teacher": teacher})
    return Turn("student", views, Batch(x0), Given([z], list(u)), OneStep(1.0), progress or Progress())


def drawn(turn: Turn, law) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return t, x0, z and x_t as the term will draw them."""
    t, z, x0 = law.times(turn.process, turn.draws._uniforms[0]), turn.draws._normals[0], turn.batch.x0
    return t, x0, z, turn.process.noise(x0, z, t)


def check_equal(net: nn.Module, cost: Tensor, wanted: Tensor) -> None:
    """The same value for each item, and the same gradient."""
    assert torch.allclose(cost, wanted, rtol=1e-8)
    found, published = (torch.autograd.grad(each.mean(), list(net.parameters())) for each in (cost, wanted))
    assert all(torch.allclose(a, b, rtol=1e-7, atol=1e-11) for a, b in zip(found, published, strict=True))


@pytest.mark.parametrize("slope", [DataSlope(), TeacherSlope()], ids=str)
@pytest.mark.parametrize("warmup", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("taming", [Square(), Unit(0.1)], ids=str)
def test_cost_is_that_of_scm(slope, warmup: float, taming):
    """g = -cos^2 t (sd F - dx) - r cos t sin t (x + sd dF/dt), x0 = cos t x - sin t sd F: its F is minus ours."""
    path, net, law = TrigFlow(0.5), Net(), LogNormal(-0.4, 1.0)
    sd, teacher = path.sigma_data, Gaussian(path, column(0.2, -0.1, 0.3), 0.4)
    ramp = Piecewise(((0.0, 0.0), (0.2, 1.0)))
    term = Tangent(law, slope=slope, output=predict.EDM(), scale=DataShare(), warmup=ramp, taming=taming)
    turn = turn_of(Denoiser(net, path, predict.EDM()), teacher, Progress(int(100 * 0.2 * warmup), 100))
    t, x0, z, x = drawn(turn, law)
    cost = term(turn)
    cos, sin = t.cos()[:, None], t.sin()[:, None]
    taught = (cos * x - teacher(x, t)) / sin  # x0 = cos t x - sin t dx
    dx = taught if isinstance(slope, TeacherSlope) else cos * sd * z - sin * x0
    f = -net(x / sd, t)
    with torch.no_grad():
        rate = -torch.func.jvp(lambda x, t: net(x, t), (x / sd, t), (dx / sd, torch.ones_like(t)))[1]
        g = -(cos**2) * (sd * f - dx) - warmup * cos * sin * (x + sd * rate)
        if isinstance(taming, Unit):
            g = g / (g.norm(dim=1, keepdim=True) + 0.1)
    check_equal(net, cost, (f - f.detach() - g).square().mean(1))


def test_scm_asks_for_no_change_of_the_exact_student():
    """Data of mean 0 and deviation sigma_data: the teacher's F is 0, the student's -tan(t / 2) x / sd."""
    path = TrigFlow(0.5)

    class Exact(nn.Module):
        def __init__(self, wrong: float) -> None:
            super().__init__()
            self.wrong = nn.Parameter(column(wrong)[0])

        def forward(self, x: Tensor, label: Tensor, c: Tensor | None = None) -> Tensor:
            return (1 + self.wrong) * (label / 2).tan()[:, None] * x  # of x / sd; minus sCM's F

    teacher = Gaussian(path, column(0.0, 0.0, 0.0), 0.5)
    term = Tangent(LogNormal(0.0, 2.0), slope=TeacherSlope(), output=predict.EDM(), scale=DataShare(), taming=Square())
    assert term(turn_of(Denoiser(Exact(0.0), path, predict.EDM()), teacher)).max() < 1e-24
    assert term(turn_of(Denoiser(Exact(0.1), path, predict.EDM()), teacher)).mean() > 1e-4


# --- MeanFlow and AYF


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_cost_is_that_of_mean_flow(share: float):
    """u_tgt = v - (t - s) du/dt, with (u, du/dt) = jvp(u, (x, t, s), (v, 1, 0)); ||u - u_tgt||^2 / (. + c)^p."""
    path, net, law = Linear(), Net(), LogitNormal(-0.4, 1.0)
    term = Tangent(law, Beneath(share=share), taming=Adaptive(0.75, 1e-3))
    turn = turn_of(Denoiser(net, path, predict.Velocity(), second_time=True))
    t, x0, z, x = drawn(turn, law)
    u = turn.draws._uniforms[1]
    s = torch.where(u < share, t * u / share, t)
    cost, v = term(turn), z - x0
    mean, rate = torch.func.jvp(lambda x, t: net(x, t, None, s), (x, t), (v, torch.ones_like(t)))
    target = (v - (t - s)[:, None] * rate).detach()
    square = (mean - target).square().sum(1)
    check_equal(net, cost, square / (square.detach() + 1e-3) ** 0.75)


@pytest.mark.parametrize("r", [0.0, 0.4, 0.99])
def test_cost_is_that_of_align_your_flow(r: float):
    """g = (F - v) + r (t - s) dF/dt, g / (||g|| + c), L = ||F - sg(F - g)||^2, with the teacher's v."""
    path, net, law = Linear(), Net(), LogitNormal(0.0, 1.0)
    teacher = Gaussian(path, column(0.2, -0.1, 0.3), 0.7)
    term = Tangent(law, Beneath(), slope=TeacherSlope(), warmup=r, taming=Unit(0.1))
    turn = turn_of(Denoiser(net, path, predict.Velocity(), second_time=True), teacher)
    t, _, _, x = drawn(turn, law)
    s = t * turn.draws._uniforms[1]
    cost, v = term(turn), path.velocity(x, teacher(x, t), t)
    f, rate = torch.func.jvp(lambda x, t: net(x, t, None, s), (x, t), (v, torch.ones_like(t)))
    g = ((f - v) + r * (t - s)[:, None] * rate).detach()
    g = g / (g.norm(dim=1, keepdim=True) + 0.1)
    check_equal(net, cost, (f - (f - g).detach()).square().mean(1))


# --- the parts


@pytest.mark.parametrize("name", ["edm", "linear", "trigflow", "vp cosine"])
def test_forward_derivative_is_the_central_difference(name: str):
    path, net = PATHS[name], Net()
    student = Denoiser(net, path, predict.EDM(), second_time=True)
    t = path.t_max * torch.linspace(0.1371, 0.8213, 9, dtype=torch.float64)  # inside the cells of a table
    x, v = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    s = 0.3 * t

    def jump(x: Tensor, t: Tensor) -> Tensor:
        return path.step(x, student(x, t, None, s), t, s)

    h = 1e-5 * path.t_max
    v = v / path.t_max
    difference = (jump(x + h * v, t + h) - jump(x - h * v, t - h)) / (2 * h)
    assert torch.allclose(along(jump, x, t, v) * path.t_max, difference * path.t_max, rtol=1e-6, atol=1e-6)


def test_tamings_are_their_formulas():
    output, change = torch.randn(2, 5, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    output.requires_grad_(True)
    square, length = change.flatten(1).square().sum(1), change.flatten(1).norm(dim=1)
    wanted = {
        Square(): (square / 6, change * 2 / 6),
        Unit(0.1): ((length / (length + 0.1)) ** 2 / 6, change / over(length + 0.1, change) * 2 / 6),
        Adaptive(0.75, 1e-3): (square / (square + 1e-3) ** 0.75, 2 * change / over((square + 1e-3) ** 0.75, change)),
    }
    for taming, (value, pull) in wanted.items():
        cost = taming(output, change)
        assert torch.allclose(cost, value, rtol=1e-12), taming
        assert torch.allclose(torch.autograd.grad(cost.sum(), output)[0], -pull, rtol=1e-12), taming


@pytest.mark.parametrize(("omega", "kappa"), [(0.2, 0.92), (1.0, 0.5), (2.0, 0.0)])
def test_mixed_slope_guides_at_omega_over_1_minus_kappa(omega: float, kappa: float):
    """The guided velocity is its own fixed point, on average over the data: scale 2.5 for (0.2, 0.92)."""
    path = Linear()
    world = Classes(path, column(1.0, -2.0, 0.4)[:, None], STD)
    scale = omega / (1 - kappa)
    assert scale == pytest.approx({0.92: 2.5, 0.5: 2.0, 0.0: 2.0}[kappa])
    c, t = torch.tensor([0, 1, 0, 1]), column(0.2, 0.4, 0.6, 0.9)
    x = column(0.3, -0.7, 1.1, 0.0)[:, None]
    x0 = world(x, t, c)  # the mean of the data behind x, which is all that a mean velocity needs
    noised = Noised(x0, t, path.eps(x, x0, t), x)
    for strength, fixed in ((scale, True), (1.3 * scale, False)):
        student = CFG(strength)(world)
        turn = Turn("student", {"student": student}, Batch(x0, c), Given(), OneStep(1.0))
        found, own = MixedSlope(omega, kappa)(turn, noised), path.velocity(x, student(x, t, c), t)
        assert torch.allclose(found, own, rtol=1e-10) == fixed


class Masks(nn.Module):
    """Answers with the mask that dropout drew, times x."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.seen = nn.Parameter(column(1.0)[0]), list[Tensor]()

    def forward(self, x: Tensor, label: Tensor, c: Tensor | None = None) -> Tensor:
        mask = nn.functional.dropout(torch.ones_like(x), 0.5, training=True)
        self.seen.append(mask)
        return self.scale * mask * x


@pytest.mark.parametrize("slope", [DataSlope(), MixedSlope(0.5, 0.3)], ids=str)
def test_derivative_is_that_of_the_network_with_the_same_dropout(slope):
    torch.manual_seed(0)
    net = Masks()
    turn = turn_of(Denoiser(net, Linear(), predict.Velocity()))
    turn = replace(turn, batch=replace(turn.batch, c=torch.zeros(12, dtype=torch.long)))
    Tangent(LogitNormal(), slope=slope)(turn)
    assert torch.equal(net.seen[-2], net.seen[-1])
    assert not torch.equal(Masks()(torch.ones(12, 3), None), net.seen[-1])


def test_states_of_a_tangent_may_come_from_elsewhere():
    """Data-free: along the teacher's own path the exact map costs nothing either."""
    path = EDM()
    world = Gaussian(path, column(0.4, -0.3), STD)
    term = Tangent(law_on(path), states=TeacherPath(80.0, steps=3), slope=TeacherSlope(), taming=Square())
    views, like = {"student": Jump(world), "teacher": world}, torch.zeros(6, 2, dtype=torch.float64)
    assert term(Turn("student", views, Batch(like), Draws(1, like.device), OneStep(80.0))).max() < 1e-18
