"""Distribution matching against the closed-form gradients of divergences between Gaussians and mixtures."""

from dataclasses import dataclass, replace

import pytest
import torch
from matching import G1, G1A, G1B, G3, TEACHER, Fixed, at, column, normal, on_g2, on_g3
from matching import on_g1 as on_g1_with
from torch import Tensor

from fewstep.batch import Batch
from fewstep.process import over
from fewstep.terms import KL, AlphaSigma, DistributionMatching, NoisyResidual, Normaliser, Plain, Residual
from fewstep.testing import Gaussian, Given
from fewstep.turn import Turn
from fewstep.vp import VP


def on_g1(normaliser: Normaliser, student: tuple[float, float] = G1A, views: dict | None = None) -> list[float]:
    return on_g1_with(DistributionMatching(times=at(1.0), normaliser=normaliser), student, views=views)


def test_with_kl_the_gradient_is_that_of_the_reverse_kl():
    assert on_g1(KL()) == pytest.approx([-1.600000, 0.877672], abs=1e-6)
    assert on_g1(KL(), G1B) == pytest.approx([-0.492308, -0.061326], abs=1e-6)


def test_plain_is_the_gradient_of_diff_instruct():
    """sigma^2 / alpha^2 times that of the reverse KL."""
    assert on_g1(Plain()) == pytest.approx([-0.900000, 0.493691], abs=1e-6)


def test_alpha_sigma_is_the_gradient_of_swiftbrush():
    """sigma^3 / alpha times that of the reverse KL."""
    assert on_g1(AlphaSigma()) == pytest.approx([-0.432000, 0.236971], abs=1e-6)


def test_gradient_vanishes_where_the_student_is_the_teacher_and_for_every_normaliser():
    for normaliser in (KL(), Plain(), Residual(), NoisyResidual(), AlphaSigma()):
        assert on_g1(normaliser, TEACHER) == [0, 0]


def test_gradient_vanishes_when_the_fake_score_is_the_teacher():
    """The direction is the difference of the two: with a fake score that lags there, the student stands still."""
    teacher = normal(G1, *TEACHER)
    assert on_g1(KL(), views={"teacher": teacher, "fake_score": teacher}) == [0, 0]


def test_descent_moves_the_student_to_the_teacher():
    """The sign: with an exact fake score 60 steps down the gradient end on mean 1 and deviation 0.5."""
    offset, slope = -0.3, 1.2
    for _ in range(60):
        da, db = on_g1(KL(), (offset, slope))
        offset, slope = offset - 0.4 * da, slope - 0.4 * db
    assert (offset, slope) == pytest.approx((1.0, 0.5), abs=1e-3)


def test_on_a_mixture_the_gradient_is_that_of_the_reverse_kl():
    assert on_g2(DistributionMatching(times=at(0.7), normaliser=KL())) == pytest.approx(
        [-0.257288, -0.435741], abs=2e-5
    )


def test_in_two_dimensions_no_matrix_is_transposed():
    assert G3(column(0.5, -1.0)[None], column(1.0))[0].tolist() == pytest.approx([0.670587, -0.784308], abs=1e-6)
    exact = [-0.704184, 0.728517, -0.079711, -0.070467, -0.080048, 0.027815]
    assert on_g3(DistributionMatching(times=at(1.0), normaliser=KL())) == pytest.approx(exact, abs=1e-6)


# --- item by item, on fixed samples


def item_gradient(term: DistributionMatching, x0: Tensor, real, fake) -> tuple[Tensor, Tensor, Tensor]:
    """Return the cost, its gradient at each sample, and x_t."""
    z = torch.randn(x0.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    views = {"student": real, "teacher": real, "fake_score": fake}
    turn = Turn("student", views, Batch(x0), Given([z], [column(0.5)]), Fixed(x0.clone().requires_grad_(True)))
    cost = term(turn)
    return cost, torch.autograd.grad(cost.sum(), turn.samples.x0)[0], G1.noise(x0, z, torch.ones(len(x0)).double())


def images(scale: float = 1.0) -> tuple[Tensor, Gaussian, Gaussian]:
    x0 = torch.randn(6, 2, 3, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    real = Gaussian(G1, torch.full((2, 3, 3), 1.0, dtype=torch.float64), 0.5)
    fake = Gaussian(G1, torch.full((2, 3, 3), -0.3, dtype=torch.float64), 1.2)
    return scale * x0, real, fake


def test_residual_is_one_over_the_mean_distance_to_the_teachers_estimate():
    x0, real, fake = images()
    cost, slope, x = item_gradient(DistributionMatching(times=at(1.0)), x0, real, fake)
    t = torch.ones(6, dtype=torch.float64)
    g = (fake(x, t) - real(x, t)) / over((x0 - real(x, t)).abs().flatten(1).mean(1), x)
    assert torch.allclose(slope, g / 18, rtol=1e-10)
    assert torch.allclose(cost, g.square().flatten(1).mean(1) / 2, rtol=1e-10)


def test_noisy_residual_is_one_over_the_mean_distance_of_the_noisy_sample():
    x0, real, fake = images()
    _, slope, x = item_gradient(DistributionMatching(times=at(1.0), normaliser=NoisyResidual()), x0, real, fake)
    t = torch.ones(6, dtype=torch.float64)
    g = (fake(x, t) - real(x, t)) / over((x - real(x, t)).abs().flatten(1).mean(1), x)
    assert torch.allclose(slope, g / 18, rtol=1e-10)


@dataclass(frozen=True)
class Answers:
    """A denoiser that always gives this answer."""

    answer: Tensor
    process: VP = G1

    def __call__(self, x, t, c=None, s=None):
        return self.answer


@pytest.mark.parametrize("factor", [1e-3, 10.0, 1e4])
def test_residual_ignores_the_scale_of_the_data(factor: float):
    x0, real, fake = images()
    answers = [real(x0, torch.ones(6).double()), fake(x0, torch.ones(6).double())]
    _, slope, _ = item_gradient(DistributionMatching(times=at(1.0)), x0, *map(Answers, answers))
    scaled = [Answers(factor * answer) for answer in answers]
    _, again, _ = item_gradient(DistributionMatching(times=at(1.0)), factor * x0, *scaled)
    assert torch.allclose(again, slope, rtol=1e-9)


def test_residual_survives_a_sample_that_is_the_teachers_estimate():
    x0, _, fake = images()
    cost, slope, _ = item_gradient(DistributionMatching(times=at(1.0)), x0, Answers(x0), fake)
    assert cost.isfinite().all()
    assert slope.isfinite().all()


def test_direction_is_zero_where_fake_and_real_agree():
    x0, real, _ = images()
    for normaliser in (Residual(), Plain(), KL()):
        cost, slope, _ = item_gradient(DistributionMatching(times=at(1.0), normaliser=normaliser), x0, real, real)
        assert cost.abs().max() == 0
        assert slope.abs().max() == 0


def test_no_gradient_flows_through_the_two_denoisers():
    """d cost / d x0 is g / n alone: the derivative of D_fake - D_real with respect to x_t plays no part."""
    x0, real, fake = images()
    _, slope, x = item_gradient(DistributionMatching(times=at(1.0), normaliser=Plain()), x0, real, fake)
    t = torch.ones(6, dtype=torch.float64)
    assert torch.allclose(slope, (fake(x, t) - real(x, t)) / 18, rtol=1e-10)


def test_fake_score_is_told_which_call_made_the_sample():
    x0, real, _ = images()
    seen = []

    class Listening:
        process = G1

        def __call__(self, x, t, c=None, s=None):
            seen.append(s)
            return x

    item_gradient(DistributionMatching(times=at(1.0)), x0, real, Listening())
    assert seen[0].tolist() == [1.0] * 6


def test_names_of_the_networks_are_free():
    x0, real, fake = images()
    term = replace(DistributionMatching(times=at(1.0), normaliser=Plain()), real="student", fake="teacher")
    assert term.networks() == ("student", "teacher")
    _, slope, _ = item_gradient(term, x0, real, fake)
    assert slope.abs().max() == 0
