"""How fast a fake score must learn: a student and its fake score are two coupled lines."""

import pytest
import torch
from matching import G1, SIGMA, at, normal, on_g1
from torch import Tensor

from fewstep.terms import DistributionMatching, Plain

MEAN, STD = 1.0, 0.5  # of the teacher; student and fake score have the same deviation, and only their means move
V = (0.8 * STD) ** 2 + SIGMA**2
TERM = DistributionMatching(times=at(1.0), normaliser=Plain())


def step(student: float, fake: float, eta: float, pace: float) -> tuple[float, float]:
    """One update of the student that closes the share ``eta`` of the gap under a perfect fake score, then its own."""
    rate = eta * V / SIGMA**2  # D_fake - D_real is sigma^2 / v times the difference of their means
    views = {"teacher": normal(G1, MEAN, STD), "fake_score": normal(G1, fake, STD)}
    student -= rate * on_g1(TERM, (student, STD), views=views)[0]
    return student, fake + pace * (student - fake)


def matrix(eta: float, pace: float) -> Tensor:
    """The update of the two means' distances to the teacher's."""
    return torch.tensor([[1, -eta], [pace, 1 - pace - pace * eta]], dtype=torch.float64)


@pytest.mark.parametrize(("eta", "pace"), [(0.3, 0.2), (0.8, 1.0), (0.1, 0.5)])
def test_student_and_fake_score_follow_two_coupled_lines(eta: float, pace: float):
    student, fake = 3.0, -1.0
    for _ in range(3):
        student, fake = step(student, fake, eta, pace)
    gaps = torch.tensor([3.0 - MEAN, -1.0 - MEAN], dtype=torch.float64)
    exact = MEAN + torch.linalg.matrix_power(matrix(eta, pace), 3) @ gaps
    assert [student, fake] == pytest.approx(exact.tolist(), rel=1e-9)


@pytest.mark.parametrize("eta", [0.05, 0.3, 0.8])
def test_pair_oscillates_unless_the_fake_score_keeps_up(eta: float):
    """``k >= 4 eta / (1 + eta)^2``: below it the eigenvalues are complex, and the student overshoots."""
    enough = 4 * eta / (1 + eta) ** 2
    for pace, swings in ((0.9 * enough, True), (enough * 1.0001, False)):
        assert (torch.linalg.eigvals(matrix(eta, pace)).imag.abs().max().item() > 1e-9) == swings
    signs = {pace: overshoots(eta, pace) for pace in (0.4 * enough, min(1.05 * enough, 1.0))}
    assert list(signs.values()) == [True, False]


def overshoots(eta: float, pace: float) -> bool:
    student, fake = MEAN - 1.0, MEAN - 1.0
    for _ in range(56):  # a slow fake score lets the student swing past the mean after 28 at most
        student, fake = step(student, fake, eta, pace)
        if student > MEAN + 1e-9:
            return True
    return False
