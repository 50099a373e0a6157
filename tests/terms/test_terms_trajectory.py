"""Matching along the student's own deterministic path: the card of TDM, in the Gaussian world."""

import pytest
import torch
from matching import at, column
from torch import Tensor

from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.errors import RecipeError
from fewstep.flowmap import FlowMap
from fewstep.predict import X0
from fewstep.process import EDM
from fewstep.sampling import few_step
from fewstep.terms import KL, Denoise, DistributionMatching, Huber, MinSNR, One, Plain, Shortened
from fewstep.testing import PATHS, Affine, Counted, Gaussian, Given, Jump, normal_points, small_views
from fewstep.times import Along, Explicit, LogNormal, Straight, Trailing, Uniform
from fewstep.training import OneStep, Trajectory
from fewstep.turn import Turn, within
from fewstep.vp import VP

PATH, STD = VP((0.64, 0.01)), 0.5  # alpha .8 at time 1, .1 at time 2
SPREAD = 0.01 * STD**2 + 0.99  # of the teacher's states at time 2
KEEP = 0.6 / 0.99**0.5
GAIN = 0.8 - 0.1 * KEEP
TEACHER = Gaussian(PATH, column(0.0), STD)
TWO = Trajectory(Explicit((2.0, 1.0)), 2)


def shrink(b: float) -> float:
    """The factor of a step from time 2 to 1 whose estimate is b x."""
    return KEEP + GAIN * b


EXACT = 0.1 * STD**2 / SPREAD  # the teacher's estimate is this times x
RIGHT = ((0.52 / SPREAD) ** 0.5 - KEEP) / GAIN  # with this the states at time 1 are as wide as the teacher's


def turn_of(b: float, time: float, term: DistributionMatching) -> tuple[Tensor, Affine]:
    """Return the expected cost at a time between 1 and 2 for the student b x, with the exact fake score."""
    points, weights = normal_points(4, 2)
    net = Affine(column(0.0), column(b)[None])
    variance = shrink(b) ** 2 * SPREAD
    fake = Gaussian(PATH, column(0.0), ((variance - 0.36) / 0.64) ** 0.5)  # diffused from 0 it is that wide at time 1
    views = {"student": Denoiser(net, PATH, X0()), "teacher": TEACHER, "fake_score": fake}
    start = points[:, :1] * (SPREAD / 0.99) ** 0.5  # the path begins where the teacher's does
    draws = Given([start, points[:, 1:]], [column(0.5)], [0])
    turn = Turn("student", views, Batch(torch.zeros(16, 1).double()), draws, TWO)
    return weights @ term(turn), net


def matching(time: float) -> DistributionMatching:
    return DistributionMatching(times=at(time), normaliser=KL(), capped=True)


def test_an_exact_step_stops_where_states_are_narrower_than_the_teachers():
    points, weights = normal_points(3)
    draws = Given([points * (SPREAD / 0.99) ** 0.5], integers=[0])
    rolled = TWO(FlowMap(TEACHER), torch.zeros(3, 1).double(), None, draws)
    assert (weights @ rolled.stop.x[:, 0].square()).item() == pytest.approx(0.38356, abs=1e-5)
    assert rolled.stop.s.tolist() == [1] * 3
    assert rolled.t.tolist() == [2] * 3
    assert TEACHER.spread(column(1.0)).item() ** 2 == pytest.approx(0.52)


@pytest.mark.parametrize("time", [1.2, 1.9])
@pytest.mark.parametrize("b", [EXACT, 0.1, 0.3])
def test_gradient_is_that_of_the_divergence_of_the_states_in_the_step(b: float, time: float):
    """``d KL / d b`` at the time, times ``alpha_stop / gain``: the cost is written on the estimate."""
    cost, net = turn_of(b, time, matching(time))
    alpha, sigma = PATH.alpha(column(time)).item(), PATH.sigma(column(time)).item()
    keep, variance = alpha / 0.8, shrink(b) ** 2 * SPREAD
    real = alpha**2 * STD**2 + sigma**2
    mine = keep**2 * variance + sigma**2 - (keep * 0.6) ** 2
    slope = (1 / real - 1 / mine) / 2 * keep**2 * 2 * shrink(b) * GAIN * SPREAD
    assert torch.autograd.grad(cost, net.matrix)[0].item() == pytest.approx(slope * 0.8 / GAIN, rel=1e-9)


def test_teacher_itself_is_to_widen_and_only_the_right_states_are_at_rest():
    for time in (1.1, 1.5, 1.9):
        cost, net = turn_of(EXACT, time, matching(time))
        assert torch.autograd.grad(cost, net.matrix)[0].item() < -1e-4
        cost, net = turn_of(RIGHT, time, matching(time))
        assert torch.autograd.grad(cost, net.matrix)[0].item() == pytest.approx(0, abs=1e-12)
        cost, net = turn_of(RIGHT + 0.05, time, matching(time))
        assert torch.autograd.grad(cost, net.matrix)[0].item() > 1e-5


def small_turn(rollout, me: str = "student", integers: tuple[int, ...] = ()) -> Turn:
    x0, first, second = torch.randn(3, 6, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    u = torch.linspace(0.1, 0.9, 6, dtype=torch.float64)
    return Turn(me, small_views(EDM()), Batch(x0), Given([first, second], [u], integers), rollout)


def test_one_step_to_the_data_is_distribution_matching_bit_for_bit():
    law = LogNormal(-1.0, 0.5)
    terms = [
        ("student", DistributionMatching(times=law)),
        ("student", DistributionMatching(times=law, normaliser=Plain(), capped=True)),
        ("student", DistributionMatching(times=law, estimator=Shortened(Huber()))),
        ("fake_score", Denoise(on="samples", times=law, weight=MinSNR())),
    ]
    for me, term in terms:
        plain = term(small_turn(OneStep(2.5), me))
        assert torch.equal(term(small_turn(Trajectory(Explicit((2.5,)), 1), me, (0,))), plain)
        shorter = Trajectory(Explicit((2.5, 0.4)), 2)
        assert not torch.allclose(term(small_turn(shorter, me, (0,))), plain)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("k", [0, 2, 3])
def test_state_is_estimate_and_noise_and_times_lie_within_the_step(path, k: int):
    rollout = Trajectory(Trailing(0.9 * path.t_max), 4)
    x0, first, second = torch.randn(3, 50, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    views = {"student": Gaussian(path, column(0.3, -0.2), 0.7)}
    u = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    turn = Turn("student", views, Batch(x0), Given([first, second], [u], [k]), rollout)
    noised = turn.noised("samples", Straight(0.0, 1.0), "any", capped=True)
    s, t = (rollout.schedule.steps(4)[i].item() for i in (k + 1, k))
    assert noised.t.min() >= s
    assert noised.t.max() <= t
    assert noised.t.max() - noised.t.min() > 0.5 * (t - s)
    assert torch.allclose(path.noise(noised.x0, noised.z, noised.t), noised.x, rtol=1e-9, atol=1e-9)
    if k == 3:
        assert noised.fresh is None
        assert torch.equal(noised.z, second)
        return
    again = path.renoise(turn.samples.stop.x, second, turn.samples.stop.s, noised.t)
    assert torch.equal(noised.x, again)
    assert torch.equal(noised.fresh.z, second)


def test_importance_is_how_likely_the_noise_is_beside_the_drawn():
    turns = [small_turn(Trajectory(Explicit((2.5, 1.0)), 2), "fake_score", (0,)) for _ in range(2)]
    law = {"on": "samples", "times": LogNormal(), "capped": True}
    noised = turns[0].noised("samples", LogNormal(), "denoise", capped=True)
    ratio = ((noised.fresh.z.square().mean(1) - noised.z.square().mean(1)) / 2).exp()
    assert (ratio - 1).abs().max() > 0.05
    plain = (turns[0].denoiser()(noised.x, noised.t) - noised.x0).square().mean(1)
    weighted = Denoise(**law, weight=One(), importance=True)(turns[1])
    assert torch.allclose(weighted, ratio * plain, rtol=1e-12)


def resting(importance: bool, time: float, b: float = EXACT) -> tuple[float, float]:
    """Slope of the expected cost of a fake score in the place of the exact one of the student b x, and in another."""
    points, weights = normal_points(6, 2)
    variance = shrink(b) ** 2 * SPREAD
    law = Gaussian(PATH, column(0.0), ((variance - 0.36) / 0.64) ** 0.5)
    exact = law(column(1.0)[None], column(time)).item()  # of x at that time
    student, slopes = Denoiser(Affine(column(0.0), column(b)[None]).requires_grad_(False), PATH, X0()), []
    for gain in (exact, exact + 0.1):
        net = Affine(column(0.0), column(gain)[None])
        views = {"student": student, "fake_score": Denoiser(net, PATH, X0())}
        start = points[:, :1] * (SPREAD / 0.99) ** 0.5
        draws = Given([start, points[:, 1:]], [column(0.5)], [0])
        turn = Turn("fake_score", views, Batch(torch.zeros(36, 1).double()), draws, TWO)
        term = Denoise(on="samples", times=at(time), capped=True, weight=One(), importance=importance)
        slopes.append(torch.autograd.grad(weights @ term(turn), net.matrix)[0].item())
    return slopes[0], slopes[1]


@pytest.mark.parametrize("b", [EXACT, RIGHT, 0.3])
@pytest.mark.parametrize("time", [1.05, 1.5, 1.95])
def test_fake_score_is_at_rest_at_the_denoiser_of_the_states(b: float, time: float):
    """So that the direction vanishes where the states are the teacher's; without limit on how near the stop t is."""
    here, there = resting(False, time, b)
    assert here == pytest.approx(0, abs=1e-12)
    assert there > 1e-3


@pytest.mark.parametrize("end", [1.0, 2.499])
def test_states_are_learned_by_the_error_of_their_fresh_noise(end: float):
    """``(sigma / alpha)^2 mean (z - r eps)^2``: as bounded as ever where t is just above the stop, and r is small."""
    schedule = Trajectory(Explicit((2.5, end)), 2)
    one, two = (small_turn(schedule, "fake_score", (0,)) for _ in range(2))
    noised = one.noised("samples", LogNormal(), "denoise", capped=True)
    eps = EDM().eps(noised.x, one.denoiser()(noised.x, noised.t), noised.t)
    share = (1 - (end / noised.t) ** 2).sqrt()[:, None]
    assert torch.allclose(noised.fresh.share[:, None], share, rtol=1e-6)
    expected = noised.t**2 * (noised.fresh.z - share * eps).square().mean(1)
    cost = Denoise(on="samples", times=LogNormal(), weight=One(), capped=True)(two)
    assert torch.allclose(cost, expected, rtol=1e-5)


def test_importance_rests_elsewhere():
    """With the estimates as its aim, a fake score of states that are right is not the teacher."""
    assert abs(resting(True, 1.5, RIGHT)[0]) > 1e-2


def test_the_data_cannot_be_capped_or_weighted_by_importance():
    for wrong in ({"capped": True}, {"importance": True}):
        with pytest.raises(RecipeError, match="accepted is either with 'on: samples'"):
            Denoise(**wrong)


def test_path_is_the_samplers_and_only_its_last_call_carries_a_graph():
    schedule = Trailing(2.5, 2.0)
    z = torch.randn(5, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    net = small_views(EDM())["student"]
    whole = few_step(FlowMap(net), 2.5 * z, schedule.steps(4), gamma=0.0)
    student = Counted(net)
    rolled = Trajectory(schedule, 4)(FlowMap(student), z, None, Given([z], integers=[3]))
    assert torch.equal(rolled.x0, whole)
    assert rolled.stop is None
    assert student.calls == 4
    assert [x.requires_grad for x, *_ in student.asked] == [False] * 4
    assert rolled.x0.requires_grad


def test_student_with_a_second_time_is_asked_where_its_step_stops():
    """An exact jump leads to the exact state, whose law is the teacher's."""
    student = Counted(Jump(TEACHER))
    points, weights = normal_points(3)
    draws = Given([points * (SPREAD / 0.99) ** 0.5], integers=[0])
    rolled = TWO(FlowMap(student), torch.zeros(3, 1).double(), None, draws)
    assert student.asked[0][3].tolist() == [1] * 3
    assert (weights @ rolled.stop.x[:, 0].square()).item() == pytest.approx(0.52, rel=1e-9)


def test_law_within_two_times_is_the_law_given_these():
    law, u = Along(Uniform(0.0, 2.0), 0.0, 1.0), torch.linspace(0.01, 0.99, 5, dtype=torch.float64)
    low, high = column(*[0.6] * 5), column(*[1.4] * 5)
    assert torch.allclose(within(law, PATH, u, low, high), 0.6 + 0.8 * u, rtol=1e-12)


def test_uncapped_times_never_lie_before_the_stop():
    """Nobody can take noise away: what comes before the stop cannot be reached from it."""
    draws = Given(uniforms=[torch.linspace(0.01, 0.99, 6)], normals=[torch.randn(6, 2)], integers=[0])
    rollout = Trajectory(Explicit((2.5, 1.0)), 2)
    turn = Turn("student", small_views(EDM()), Batch(torch.zeros(6, 2).double()), draws, rollout)
    t = turn.times(LogNormal(), "samples")
    assert t.min() >= 1
    assert t.max() > 2.5
