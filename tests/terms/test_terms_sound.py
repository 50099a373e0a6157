"""What costs on sounds are computed on: log-mels, a teacher's features, a critic's; both branches of a student."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.draws import Draws
from fewstep.endpoints import OnGrid
from fewstep.errors import RecipeError
from fewstep.guidance import CFG
from fewstep.networks import MultiPeriod, UNet1D
from fewstep.pairs import Leaps, Moment
from fewstep.points import Even
from fewstep.predict import X0
from fewstep.process import EDM
from fewstep.sampling import FewStep
from fewstep.solvers import DDIM
from fewstep.spectra import multi_scale_log_mel
from fewstep.terms import (
    L1,
    L2,
    Adversarial,
    Consistency,
    Discriminate,
    Features,
    Here,
    LeastSquares,
    LogMels,
    Reconstruct,
    Scales,
    TeacherBridge,
    Term,
)
from fewstep.testing import PATHS, Classes, Gaussian, Jump, check_term, time_of
from fewstep.times import Along, Trailing
from fewstep.training import OneStep
from fewstep.turn import Turn
from fewstep.types import X

PATH, ITEMS = EDM(), 24
CLEAN = Along(Trailing(1.0), 0.0, 0.0)
TAPS = ("period2.layers.1", "period3.layers.2")

ROWS: list[tuple[str, Term]] = [
    ("student", Reconstruct()),
    ("student", Reconstruct(space=Features(taps=("middle.0",)))),
    ("student", Reconstruct(L1(), Features("fake_score", ("body.middle.0",), judge=True, unit=False))),
    ("student", Adversarial(times=CLEAN, loss=LeastSquares())),
    ("fake_score", Discriminate(times=CLEAN, loss=LeastSquares())),
    ("student", Consistency(Moment(3.0, 0.5), bridge=TeacherBridge(), space=Features(taps=("middle.0",)))),
]


@pytest.mark.parametrize(("me", "term"), ROWS, ids=str)
def test_term_teaches_the_learner_and_only_the_learner(me: str, term: Term):
    check_term(term, PATHS["edm"], me)


# --- log-mels


def tone(hertz: float) -> Tensor:
    """One second part of 8,192 samples, quieter towards the end."""
    time = torch.arange(8192, dtype=torch.float64) / 16_000
    return (torch.sin(2 * torch.pi * hertz * time) * torch.exp(-3 * time))[None, None]


def wave_turn(net: nn.Module, x0: Tensor, critic: nn.Module | None = None) -> Turn:
    views = {"student": Denoiser(net, PATH, X0())}
    views |= {} if critic is None else {"critic": Denoiser(critic.requires_grad_(False), PATH, X0())}
    return Turn("student", views, Batch(x0), Draws(0, x0.device), OneStep(1.0))


class Fixed(nn.Module):
    """A generator that knows one sound."""

    def __init__(self, sound: Tensor) -> None:
        super().__init__()
        self.sound = nn.Parameter(sound.clone())

    def forward(self, x: Tensor, label: Tensor, c: Tensor | None = None) -> Tensor:
        return self.sound.expand_as(x)


def test_equal_sounds_cost_nothing_and_an_octave_costs_much():
    def cost(made: Tensor, real: Tensor) -> float:
        return Reconstruct(L1(), LogMels())(wave_turn(Fixed(made), real)).item()

    assert cost(tone(440), tone(440)) == 0
    assert cost(tone(440), -tone(440)) < 1e-9
    assert cost(tone(440), tone(443)) < 0.5 * cost(tone(440), tone(880))
    assert cost(tone(440), tone(880)) > 1


def test_the_distance_of_log_mels_is_the_sum_over_the_scales():
    a, b = tone(440), tone(880)
    turn, zero = wave_turn(Fixed(a), b), torch.zeros(1, dtype=torch.float64)
    whole = L1()(LogMels()(turn, a, zero), LogMels()(turn, b, zero))
    pairs = zip(multi_scale_log_mel(a[:, 0]), multi_scale_log_mel(b[:, 0]), strict=True)
    assert torch.allclose(whole, torch.stack([L1()(x, y) for x, y in pairs]).sum(0))


def test_log_mels_teach_a_sound_its_pitch():
    net = Fixed(tone(440))
    Reconstruct(L1(), LogMels())(wave_turn(net, tone(880))).mean().backward()
    assert net.sound.grad.isfinite().all()
    assert net.sound.grad.any()


# --- features


def test_features_of_a_critic_pass_the_gradient_to_the_sample_alone():
    torch.manual_seed(0)
    critic, net = MultiPeriod().double(), Fixed(tone(440))
    term = Reconstruct(L1(), Features("critic", TAPS, judge=True, unit=False))
    cost = term(wave_turn(net, tone(880), critic))
    cost.mean().backward()
    assert cost.item() > 0
    assert net.sound.grad.any()
    assert all(parameter.grad is None for parameter in critic.parameters())
    assert term(wave_turn(Fixed(tone(880)), tone(880), critic)).item() == 0


def test_cost_of_several_periods_is_the_mean_of_their_costs():
    """And not that of their mean logit, which the losses of the paper are not linear in."""
    torch.manual_seed(0)
    critic, real, fake = MultiPeriod(periods=(2, 5)).double(), tone(880), tone(440)
    periods = [critic.get_submodule(name) for name in ("period2", "period5")]
    turn, clean = wave_turn(Fixed(fake), real, critic), {"times": CLEAN, "loss": LeastSquares()}
    tricked = sum((1 - period(fake)).square().mean() for period in periods) / 2
    told = sum((1 - period(real)).square().mean() + period(fake).square().mean() for period in periods) / 2
    assert torch.allclose(Adversarial("critic", **clean)(turn), tricked)
    assert torch.allclose(Discriminate(**clean)(replace(turn, me="critic")), told)


def test_feature_matching_is_the_sum_of_the_taps_means():
    torch.manual_seed(0)
    critic, a, b = MultiPeriod().double(), tone(440), tone(880)
    turn, zero = wave_turn(Fixed(a), b, critic), torch.zeros(1, dtype=torch.float64)

    def distance(*taps: str) -> Tensor:
        space = Features("critic", taps, judge=True, unit=False)
        return L1()(space(turn, a, zero), space(turn, b, zero))

    assert torch.allclose(distance(*TAPS), distance(TAPS[0]) + distance(TAPS[1]))


def test_a_critic_that_only_judges_has_no_features_of_a_denoiser():
    turn = wave_turn(Fixed(tone(440)), tone(880), MultiPeriod().double())
    with pytest.raises(RecipeError, match="asked to denoise, but it only judges"):
        Reconstruct(space=Features("critic", TAPS))(turn)


class Plain(nn.Module):
    """A network whose features are what it is fed."""

    def __init__(self) -> None:
        super().__init__()
        self.fed = nn.Identity()

    def forward(self, x: Tensor, label: Tensor, c: Tensor | None = None) -> Tensor:
        return self.fed(x)


MEAN = torch.tensor([0.4, -1.0], dtype=torch.float64)
IDENTITY = Features(taps=("fed",), unit=False)
GRID = Trailing(20.0, 3.0)


def ctm(space: Features | Here) -> Consistency:
    pairs = Leaps(GRID, 4, Even(17))
    return Consistency(pairs, OnGrid(GRID, Even(17)), bridge=TeacherBridge("ode", substeps=64), space=space)


def ctm_turn(student) -> Turn:
    x0 = MEAN + 0.5 * torch.randn(ITEMS, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    views = {"student": student, "teacher": Denoiser(Plain(), PATH, X0()), "ode": Gaussian(PATH, MEAN, 0.5)}
    return Turn("student", views, Batch(x0), Draws(1, x0.device), OneStep(20.0))


@pytest.mark.parametrize("metric", [L1(), L2()], ids=str)
def test_identical_features_without_normalisation_are_the_metric_at_time_s(metric):
    a, b = torch.randn(2, ITEMS, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    s = torch.rand(ITEMS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    turn = ctm_turn(Gaussian(PATH, MEAN, 0.5))
    assert torch.equal(metric(IDENTITY(turn, a, s), IDENTITY(turn, b, s)), metric(a, b))
    student = Gaussian(PATH, MEAN + 1, 0.7)
    assert torch.equal(ctm(IDENTITY)(ctm_turn(student)), ctm(Here())(ctm_turn(student)))


def test_the_exact_flow_map_is_at_rest_under_the_feature_distance():
    exact, wrong = Jump(Gaussian(PATH, MEAN, 0.5)), Jump(Gaussian(PATH, MEAN, 0.6))
    assert ctm(IDENTITY)(ctm_turn(exact)).max() < 1e-7
    assert ctm(IDENTITY)(ctm_turn(wrong)).mean() > 1e-4


def test_a_shifted_prior_is_zero_mean_noise_seen_from_elsewhere():
    """CoMoSpeech's noise has the mean mu: what is true of x - t mu without a shift is true of x with it."""
    t = torch.tensor([0.1, 2.0, 30.0], dtype=torch.float64)
    x, mu, std = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64), MEAN, 0.5
    spread, away = (std**2 + t**2).sqrt()[:, None], x - MEAN - t[:, None] * mu
    world = Gaussian(PATH, MEAN, std)
    seen = x - t[:, None] * mu
    assert torch.allclose(world(seen, t), MEAN + std**2 / spread**2 * away)
    ends = world.flow(seen, t, torch.zeros_like(t))
    assert torch.allclose(ends, MEAN + std / spread * away)
    missed = world.flow(x, t, torch.zeros_like(t)) - ends
    assert torch.allclose(missed, std / spread * t[:, None] * mu)


# --- both branches of one student

CLASSES = Classes(PATH, torch.tensor([[1.0, -0.5], [-2.0, 0.3], [0.4, 0.2]], dtype=torch.float64), 0.6)


class Exact(nn.Module):
    """The guided denoiser of every condition and scale in closed form, plus a parameter that is 0."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.heard: list[Tensor] = []

    def forward(self, x: Tensor, label: Tensor, c: Tensor, scale: Tensor | None = None) -> Tensor:
        self.heard.append(c)
        empty = CLASSES.means[-1]
        mean = empty + (1.0 if scale is None else scale[:, None]) * (CLASSES.means[c] - empty)
        return Gaussian(PATH, mean, CLASSES.std)(x, time_of(PATH, label)) + self.shift


def branch_turn(net: nn.Module) -> Turn:
    x0 = torch.randn(ITEMS, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    views = {"student": Denoiser(net, PATH, X0()), "teacher": CLASSES}
    return Turn("student", views, Batch(x0, torch.arange(ITEMS) % 2), Draws(1, x0.device), OneStep(80.0))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_student_and_teacher_lose_the_same_conditions(share: float):
    net = Exact()
    term = Consistency(Moment(3.0, 0.0), bridge=TeacherBridge(solver=DDIM()), guide=Scales(1.0, 4.0, share))
    cost = term(turn := branch_turn(net))
    cost.mean().backward()
    assert cost.max() < 1e-12
    assert net.shift.grad.abs() < 1e-9
    assert all(torch.equal(c, net.heard[0]) for c in net.heard)
    lost = (net.heard[0] < 0).double().mean()
    assert abs(lost - share) < 0.2
    assert (turn.c >= 0).all()  # the batch of the other terms is as it was


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_of_dropped_conditions_is_one(share: float):
    with pytest.raises(RecipeError, match="accepted is 0 to 1"):
        Scales(1.0, 2.0, share)


def both_branches() -> Denoiser:
    torch.manual_seed(0)
    net = UNet1D(channels=4, condition=(3,), widths=(8, 8), second_time=True, scale=True)
    for parameter in net.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return Denoiser(net, PATH, second_time=True)


def sampled(view: Denoiser, c: Tensor | None, *rules: CFG) -> X:
    sampler = FewStep(GRID, (4,), gamma=0.0, guidance=rules, scale=2.0)
    return sampler.sample(view, range(5), (4, 8), c, 4)


def test_nu_1_is_the_conditional_branch_and_nu_0_the_unconditional_one():
    view, c = both_branches(), torch.randn(5, 3, generator=torch.Generator().manual_seed(2))
    with_c, without = sampled(view, c), sampled(view, torch.zeros(5, 3))
    assert not torch.allclose(with_c, without, atol=1e-2)
    assert torch.equal(sampled(view, c, CFG(1.0)), with_c)
    assert torch.equal(sampled(view, c, CFG(0.0)), without)


def test_nu_mixes_the_jumps_of_both_branches():
    """G_u + nu (G_c - G_u) at every step, whatever the second time."""
    view, c, nu = both_branches(), torch.randn(5, 3, generator=torch.Generator().manual_seed(2)), 1.5
    x, t, s = torch.randn(5, 4, 8), torch.full((5,), 8.0).double(), torch.full((5,), 2.0).double()
    given, empty = view(x, t, c, s), view(x, t, torch.zeros(5, 3), s)
    assert torch.allclose(CFG(nu)(view)(x, t, c, s), empty + nu * (given - empty), atol=1e-6)
    assert not torch.allclose(CFG(nu)(view)(x, t, c, s), CFG(nu)(view)(x, t, c), atol=1e-3)


def test_the_diagonal_is_the_same_with_and_without_rules():
    view, c = both_branches(), torch.randn(5, 3, generator=torch.Generator().manual_seed(2))
    x, t = torch.randn(5, 4, 8), torch.full((5,), 8.0).double()
    assert torch.equal(CFG(1.0)(view)(x, t, c), view(x, t, c))
