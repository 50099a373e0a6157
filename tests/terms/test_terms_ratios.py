"""The density ratio that a critic knows."""

from dataclasses import replace

import pytest
import torch
from matching import EXACT, G1, G1A, G2, HEAPS, TEACHER, alike, at, column, costs, judged, normal
from torch import Tensor, nn

from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.errors import RecipeError
from fewstep.predict import X0
from fewstep.process import EDM
from fewstep.terms import KL, DensityRatio, DistributionMatching, ForwardKL, JensenShannon, ReverseKL
from fewstep.testing import Affine, Given
from fewstep.training.rollouts import OneStep
from fewstep.turn import Noised, Turn

FORWARD = ForwardKL()  # h = r
NOISY = replace(EXACT, low=0.1, high=20.0, limit=10.0)  # the clamps alone


def ratios(ratio: DensityRatio, path, real, fake, x: Tensor, t: Tensor) -> Tensor:
    turn = Turn("student", {"student": real, **judged(real, fake)}, Batch(x), Given(), OneStep(path.t_max))
    return ratio(turn, Noised(x, t, x, x))


@pytest.mark.parametrize("time", [1.0, 1.3, 1.6])
def test_ratio_is_one_on_average_over_the_students_samples_at_every_time(time: float):
    real, fake = normal(G1, *TEACHER), normal(G1, *G1A)
    t = column(time).expand(40_000)
    points = alike(20_000, G1A[1] * G1.alpha(t[:1]).item(), G1.sigma(t[:1]).item())
    x = G1.noise(G1A[0] + G1A[1] * points[:, :1], points[:, 1:], t)
    r = ratios(EXACT, G1, real, fake, x, t)
    assert r.mean().item() == pytest.approx(1, abs=1e-5)
    assert torch.allclose(r.log(), real.log_density(x, t) - fake.log_density(x, t), atol=1e-9)
    normalised = ratios(replace(EXACT, bins=10), G1, real, fake, x, t)
    assert torch.allclose(normalised, r / r.mean(), rtol=1e-9)


def heaps(ratio: DensityRatio, divergence) -> list[float]:
    """d/da and d/db at G2 on many points alike in weight, as a batch has them."""
    term = DistributionMatching(times=at(0.7), normaliser=KL(), divergence=divergence, ratio=ratio)
    net = Affine(column(0.5), column(1 / 80.0)[None])
    cost = costs(term, net, judged(G2, normal(HEAPS, 0.5, 1.0)), alike(20_000, 1.0, 0.7)).mean()
    da, db = torch.autograd.grad(cost, (net.offset, net.matrix))
    return [da.item(), db.item() / 80]


def test_clamps_hardly_move_the_mean_of_the_ratio():
    points, t = alike(20_000, 1.0, 0.7), column(0.7).expand(40_000)
    x = HEAPS.noise(0.5 + points[:, :1], points[:, 1:], t)
    assert ratios(NOISY, HEAPS, G2, normal(HEAPS, 0.5, 1.0), x, t).mean().item() == pytest.approx(0.998318, abs=1e-5)


def test_balanced_weights_give_the_known_gradient():
    balanced = replace(NOISY, balance=True)
    assert heaps(balanced, JensenShannon()) == pytest.approx([-0.187078, -0.547590], abs=5e-5)
    assert heaps(EXACT, JensenShannon()) == pytest.approx([-0.077837, -0.227847], abs=5e-5)
    assert heaps(balanced, ReverseKL()) == heaps(EXACT, ReverseKL())


class Says(nn.Module):
    """A critic with these logits, which keeps what it was asked."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(column(*logits))

    def forward(self, x, label, c=None, *, judge=False):
        self.asked = x, label
        return self.logits if judge else x


def weighed(ratio: DensityRatio, times: list[float], *r: float, divergence=FORWARD) -> tuple[list[float], Turn]:
    """The weights of items with such ratios, and the turn, with its notes."""
    path = EDM()
    x, t = torch.zeros(len(r), 1, dtype=torch.float64), column(*times)
    turn = Turn("student", {"critic": Denoiser(Says(*column(*r).log()), path, X0())}, Batch(x), Given(), OneStep(80.0))
    turn.views = {**turn.views, "student": turn.views["critic"]}
    return ratio.weights(turn, Noised(x, t, x, x), divergence).tolist(), turn


def weights_of(ratio: DensityRatio, times: list[float], *r: float, divergence=FORWARD) -> list[float]:
    return weighed(ratio, times, *r, divergence=divergence)[0]


def test_ratio_is_clamped_twice():
    assert weights_of(NOISY, [1, 1, 1], 1e-9, 0.5, 1e9) == pytest.approx([0.1, 0.5, 20])
    wide = replace(NOISY, low=0.0, high=1e9, limit=2.0)
    assert weights_of(wide, [1, 1], 1e-9, 1e9) == pytest.approx([torch.e**-2, torch.e**2])


def test_share_of_clamped_ratios_is_noted():
    logits = replace(NOISY, low=0.0, high=1e9, limit=2.0)
    for ratio, share in ((EXACT, 0), (NOISY, 0.5), (logits, 0.75)):
        _, turn = weighed(ratio, [1] * 4, 1e-2, 0.5, 8.0, 1e2)
        assert turn.notes["clamped share"] == share


@pytest.mark.parametrize("ratio", [NOISY, replace(NOISY, balance=True)], ids=["plain", "balanced"])
def test_effective_size_is_the_share_of_items_that_count(ratio):
    for r, size in (((2, 2, 2, 2), 1), ((20, 20, 0.1, 0.1), 40.2**2 / 4 / 800.02), ((1, 3, 1, 3), 64 / 4 / 20)):
        _, turn = weighed(ratio, [1] * 4, *r)
        assert turn.notes["effective size"] == pytest.approx(size)
    _, turn = weighed(ratio, [1, 1], 1, 3, divergence=ReverseKL())
    assert not turn.notes


def test_bins_are_even_in_the_logarithm_of_the_noise_level():
    """Levels .01, .09, 1.1 and 100 in two bins of the logarithm, cut at 1; on the clock three would share one."""
    times = [0.01, 0.09, 1.1, 100.0]
    found = weights_of(replace(NOISY, bins=2), times, 2, 4, 3, 5)
    assert found == pytest.approx([2 / 3, 4 / 3, 3 / 4, 5 / 4])
    assert weights_of(replace(NOISY, bins=4), [1, 1, 1, 1], 2, 4, 3, 3) == pytest.approx([2 / 3, 4 / 3, 1, 1])


def test_balance_divides_the_weights_by_their_mean():
    balanced = replace(NOISY, balance=True)
    assert weights_of(balanced, [1, 1], 1, 3, divergence=JensenShannon()) == pytest.approx([0.8, 1.2])


def test_critic_is_asked_at_the_same_x_and_t_and_learns_nothing():
    critic = Says(0.3, -0.2)
    x0, z = column(0.5, -1.0)[:, None], column(0.1, 0.7)[:, None]
    seen = {}

    class Listening:
        process = G1

        def __call__(self, x, t, c=None, s=None):
            seen["x"], seen["t"] = x, t
            return 0.5 * x

    net = Affine(column(0.0), column(1.0)[None])
    views = {"student": Denoiser(net, G1, X0()), "teacher": Listening(), "fake_score": normal(G1, 0.0, 1.0)}
    views["critic"] = Denoiser(critic, G1, X0())
    turn = Turn("student", views, Batch(x0), Given([x0, z], [column(0.3, 0.6)]), OneStep(2.0))
    term = DistributionMatching(divergence=JensenShannon(), ratio=DensityRatio("critic"))
    assert term.networks() == ("teacher", "fake_score", "critic")
    term(turn).sum().backward()
    assert torch.equal(critic.asked[0], seen["x"])
    assert torch.equal(critic.asked[1], G1.label(seen["t"]).to(torch.float64))
    assert critic.logits.grad is None
    assert net.offset.grad is not None
    assert turn.notes["density ratio"] == pytest.approx(column(0.3, -0.2).exp().mean().item())


def test_reverse_kl_asks_no_critic():
    term = DistributionMatching(ratio=DensityRatio("nobody"))
    assert term.networks() == ("teacher", "fake_score")


@pytest.mark.parametrize("wrong", [{"low": 3.0, "high": 2.0}, {"low": -1.0}, {"limit": 0.0}, {"bins": -1}], ids=str)
def test_clamps_that_leave_nothing_are_refused(wrong):
    with pytest.raises(RecipeError, match="accepted are 0 <= low < high"):
        DensityRatio(**wrong)
