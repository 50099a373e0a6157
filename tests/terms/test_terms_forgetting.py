"""A student that forgets a class: the card of score forgetting distillation, on classes that are Gaussians."""

from dataclasses import dataclass, replace

import pytest
import torch
from matching import ALPHA, G1, SIGMA, at, column, normal
from torch import Tensor, nn

from fewstep.batch import Batch
from fewstep.data import Digits, Oversampled
from fewstep.denoiser import Denoiser
from fewstep.errors import DataError, RecipeError
from fewstep.guidance import CFG, Override
from fewstep.predict import X0
from fewstep.recipes import load_recipe
from fewstep.recipes.classes import refuse_unknown_classes
from fewstep.terms import KL, ByClass, DistributionMatching, Identity, Plain, Term
from fewstep.testing import Affine, Classes, Given, normal_points
from fewstep.training import OneStep
from fewstep.turn import Turn

MEANS, STD, ITEMS = (1.0, -0.5, 0.3, 0.0), 0.5, 16  # of three classes, and of none
V = (ALPHA * STD) ** 2 + SIGMA**2
WORLD, FORGETFUL = Classes(G1, column(*MEANS)[:, None], STD), Override((0,), 1)
SID = DistributionMatching(times=at(1.0), normaliser=KL(), estimator=Identity(1.2))
RKL = DistributionMatching(times=at(1.0), normaliser=KL())


class Student(nn.Module):
    """``mean[c] + std z`` for the noise z, which enters as x at time 2."""

    def __init__(self, *means: float) -> None:
        super().__init__()
        self.means = nn.Parameter(column(*means))

    def forward(self, x: Tensor, label: Tensor, c: Tensor) -> Tensor:
        return self.means[c][:, None] + STD * x


def gradient(term: Term, means: tuple[float, ...], override: Override | None = FORGETFUL, fake=None) -> list[float]:
    """Return d/d mean of the cost of each class, of which there are as many items; the fake score is exact."""
    points, weights = normal_points(4, 2)
    rows, c = points.repeat(3, 1), torch.arange(3).repeat_interleave(len(points))
    net = Student(*means)
    exact = Classes(G1, column(*means, MEANS[-1])[:, None], STD)
    teacher = WORLD if override is None else override(WORLD)
    views = {"student": Denoiser(net, G1, X0()), "teacher": teacher, "fake_score": fake(exact) if fake else exact}
    draws = Given([rows[:, :1], rows[:, 1:]], [column(0.5)])
    turn = Turn("student", views, Batch(torch.zeros(len(rows), 1).double(), c), draws, OneStep(2.0))
    return torch.autograd.grad(weights.repeat(3) @ term(turn), net.means)[0].tolist()


@pytest.mark.parametrize("term", [SID, RKL], ids=["sid", "rkl"])
def test_fixed_point_gives_the_other_class_for_the_forgotten_and_the_teachers_for_all_others(term):
    learnt = (MEANS[1], *MEANS[1:3])
    assert gradient(term, learnt) == pytest.approx([0, 0, 0], abs=1e-12)
    assert min(map(abs, gradient(term, (0.2, 0.2, 0.2)))) > 1e-3


def test_student_that_is_the_teacher_is_pushed_to_forget_one_class_alone():
    """``alpha^2 (m_f - m_o) / v_o`` for the reverse KL, a positive multiple of it for the score identity."""
    push = ALPHA**2 * (MEANS[0] - MEANS[1]) / V
    assert gradient(RKL, MEANS[:3]) == pytest.approx([push, 0, 0], abs=1e-12)
    found = gradient(SID, MEANS[:3])
    assert found[0] > 0.1 * push
    assert found[1:] == pytest.approx([0, 0], abs=1e-12)


@dataclass(frozen=True, eq=False)
class Wide:
    """The same classes, the one to forget with a deviation of its own."""

    std: float
    process = G1

    def __call__(self, x: Tensor, t: Tensor, c: Tensor, s: None = None) -> Tensor:
        forgotten = (c == 0)[:, None]
        return torch.where(forgotten, normal(G1, MEANS[0], self.std)(x, t), WORLD(x, t, c))


def pushes(term: Term, student: tuple[float, float], std: float) -> list[float]:
    """Return d/da and d/db of the student a + b z of the class to forget, whose deviation is ``std``."""
    net, points, weights = Affine(column(student[0]), column(student[1])[None]), *normal_points(6, 2)
    views = {"student": Denoiser(net, G1, X0()), "teacher": FORGETFUL(Wide(std)), "fake_score": normal(G1, *student)}
    batch = Batch(torch.zeros(36, 1).double(), torch.zeros(36, dtype=torch.int64))
    turn = Turn("student", views, batch, Given([points[:, :1], points[:, 1:]], [column(0.5)]), OneStep(2.0))
    return [each.item() for each in torch.autograd.grad(weights @ term(turn), (net.offset, net.matrix))]


@pytest.mark.parametrize("term", [SID, RKL], ids=["sid", "rkl"])
def test_class_to_forget_ends_on_the_width_of_the_other_too(term: Term):
    assert pushes(term, (MEANS[1], STD), 0.9) == pytest.approx([0, 0], abs=1e-12)
    assert pushes(term, (MEANS[1], 0.9), 0.9)[1] > 1e-2


@pytest.mark.parametrize("ratio", [0.8, 1.0, 2.0, 3.45, 3.5, 3.55, 5.0])
def test_score_identity_forgets_only_classes_less_than_three_and_a_half_times_as_wide_as_the_other(ratio: float):
    """At alpha 1.2: ``2 alpha_t^2 sigma^2 (m_f - m_o) / v_o^2 (.7 v_o / v_f - .2)``; the reverse KL never turns."""
    gap, std = MEANS[0] - MEANS[1], ((ratio * V - SIGMA**2) / ALPHA**2) ** 0.5
    first = MEANS[0], std  # the student that is its teacher
    expected = 2 * (ALPHA * SIGMA / V) ** 2 * gap * (0.7 / ratio - 0.2)
    assert pushes(SID, first, std)[0] == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert (expected > 1e-12) == (ratio < 3.5)
    assert pushes(RKL, first, std)[0] == pytest.approx(ALPHA**2 * gap / V, rel=1e-9)


def test_a_fake_score_told_of_the_other_class_too_would_kill_the_term():
    """Which is why the override is the teacher's alone: both would know one class, and agree on it everywhere."""
    assert gradient(RKL, MEANS[:3], fake=FORGETFUL) == pytest.approx([0, 0, 0], abs=1e-12)


@pytest.mark.parametrize("identity", [Override((0,), 0), Override((), 1), Override((2, 2), 2)], ids=str)
def test_without_anything_to_forget_it_is_sid_bit_for_bit(identity: Override):
    means = (0.2, -0.1, 0.9)
    plain = gradient(SID, means, None)
    assert gradient(ByClass((0,), 1.0, SID), means, identity) == plain
    weighted = gradient(ByClass((0,), 1.01, SID), means, identity)  # remain and forget, 1 and .01, both of one class
    assert weighted == pytest.approx([1.01 * plain[0], *plain[1:]], rel=1e-12)
    assert gradient(SID, means) != pytest.approx(plain, abs=1e-3)


def test_the_empty_condition_is_never_overridden():
    x, t, c = torch.ones(3, 1).double(), torch.ones(3).double(), torch.tensor([0, 1, -1])
    assert torch.equal(FORGETFUL(WORLD)(x, t, c), WORLD(x, t, torch.tensor([1, 1, -1])))
    guided = CFG(2.0)(FORGETFUL(WORLD))(x, t, c)
    assert torch.equal(guided, CFG(2.0)(WORLD)(x, t, torch.tensor([1, 1, -1])))


def test_a_factor_counts_for_its_classes_alone():
    inner = DistributionMatching(normaliser=Plain())
    c, z = torch.arange(ITEMS) % 3, torch.randn(2, ITEMS, 1, generator=torch.Generator().manual_seed(0)).double()
    views = {"student": WORLD, "teacher": FORGETFUL(WORLD), "fake_score": Classes(G1, 0.5 - WORLD.means, STD)}

    def cost(term: Term) -> Tensor:
        return term(Turn("student", views, Batch(z[0], c), Given(list(z), [column(0.5)]), OneStep(2.0)))

    factor = torch.where(c == 1, 1.0, 0.25)
    assert torch.equal(cost(ByClass((0, 2), 0.25, inner)), factor * cost(inner))
    assert ByClass((0,), 0.1, inner).networks() == inner.networks()


def test_classes_without_meaning_are_refused():
    with pytest.raises(RecipeError, match=r"overridden by -1; accepted are labels from 0 on"):
        Override((0,), -1)
    with pytest.raises(RecipeError, match=r"accepted are labels and factors from 0 on"):
        ByClass((0,), -0.5, RKL)
    x, t = torch.ones(2, 1).double(), torch.ones(2).double()
    with pytest.raises(RecipeError, match="their conditions are absent"):
        FORGETFUL(WORLD)(x, t)
    with pytest.raises(RecipeError, match=r"vectors of \[5\]"):
        FORGETFUL(WORLD)(x, t, torch.ones(2, 5))
    views = dict.fromkeys(("student", "teacher", "fake_score"), WORLD)
    turn = Turn("student", views, Batch(x), Given([x, x], [t[:1] / 2]), OneStep(2.0))
    with pytest.raises(RecipeError, match="these data have none; name the term"):
        ByClass((0,), 0.5, RKL)(turn)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("frozen.teacher.guidance=[{override: {forgotten: 0, to: 12}}]", r"class 12 in Override.*10 classes, with the"),
        ("learners.student.objective.0.by_class.classes=[10]", r"class 10 in ByClass, but these data have 10 classes"),
        ("shares={11: 0.3}", r"names the class 11, but these data have 10 classes, with the labels 0 to 9\. Name"),
        ("unjudged=[-1]", r"names the class -1, but"),
    ],
)
def test_unknown_classes_are_refused(setting: str, message: str):
    refuse_unknown_classes(load_recipe("sfd"), 10)
    with pytest.raises(RecipeError, match=message):
        refuse_unknown_classes(load_recipe("sfd", [setting]), 10)


def test_a_recipe_about_classes_needs_some():
    with pytest.raises(RecipeError, match="these data have no classes"):
        refuse_unknown_classes(load_recipe("sfd"), 0)
    refuse_unknown_classes(load_recipe("sid"), 0)


def test_recipe_is_sid_but_for_what_it_forgets():
    mine, base = load_recipe("sfd"), load_recipe("sid")
    for name, learner in mine.learners.items():
        ((weight, term),) = learner.objective.parts
        assert weight == 1
        assert replace(learner, objective=base.learners[name].objective) == base.learners[name]
        assert term.term == base.learners[name].objective.parts[0][1]
    assert mine.sampler == base.sampler
    assert mine.frozen["teacher"].guidance == (FORGETFUL,)


# --- data in other proportions


def test_every_class_has_its_share_and_the_others_keep_theirs():
    digits = Digits()
    labels = digits.batch(range(len(digits))).c
    data = Oversampled(digits, {0: 0.3, 4: 0.0})
    found = data.batch(range(len(data))).c
    assert (found == 0).double().mean().item() == pytest.approx(0.3, abs=1e-3)
    assert not (found == 4).any()
    for label in (1, 2, 3, 5, 6, 7, 8, 9):
        assert (found == label).sum() == (labels == label).sum()
    repeated = data.batch((found == 0).nonzero()[:, 0].tolist()).x0.unique(dim=0, return_counts=True)[1]
    assert len(repeated) == (labels == 0).sum()
    assert repeated.max() - repeated.min() <= 1
    assert data.fingerprint() != digits.fingerprint()


def test_shares_that_cannot_be_are_refused():
    for shares in ({0: 1.0}, {0: 0.6, 1: 0.5}, {0: -0.1}):
        with pytest.raises(DataError, match="for the other classes; accepted: more than 0"):
            Oversampled(Digits(), shares)
