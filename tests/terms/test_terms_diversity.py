"""The reward for samples that differ."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.predict import X0
from fewstep.recipes import load_recipe
from fewstep.scalars import Progress
from fewstep.terms import Diversity, Here, Space
from fewstep.testing import PATHS, Affine, Counted, Given
from fewstep.training.rollouts import OneStep
from fewstep.turn import Turn

PATH, START = PATHS["edm"], 2.0
A, B = (0.7, -0.4), ((0.3, 0.2), (-0.1, 0.5))


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def noise() -> tuple[Tensor, Tensor]:
    z = torch.randn(2, 16, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return z[0], z[1]


def costs(net: Affine) -> Tensor:
    """Return the costs of the one-step student ``a + B sigma z`` on the two draws of ``noise``."""
    turn = Turn("student", {"student": Denoiser(net, PATH, X0())}, Batch(torch.zeros(16, 2).double()),
                Given(list(noise())), OneStep(START))  # fmt: skip
    return Diversity(Here())(turn)


def student(a=A, b=B) -> Affine:
    return Affine(column(*a), torch.stack([column(*row) for row in b]))


def test_cost_and_gradient_are_those_of_the_cosine():
    """d cos(y1, y2) = p1 dy1 + p2 dy2 with p1 = y2 / |y1||y2| - cos y1 / |y1|^2, and p2 likewise."""
    net = student()
    cost = costs(net)
    ends = [START * z for z in noise()]
    y1, y2 = (column(*A) + x @ net.matrix.detach().T for x in ends)
    n1, n2 = y1.norm(dim=1, keepdim=True), y2.norm(dim=1, keepdim=True)
    cos = (y1 * y2).sum(1, keepdim=True) / (n1 * n2)
    assert torch.allclose(cost, cos[:, 0], atol=1e-12)
    p1, p2 = y2 / (n1 * n2) - cos * y1 / n1**2, y1 / (n1 * n2) - cos * y2 / n2**2
    da, db = torch.autograd.grad(cost.sum(), (net.offset, net.matrix))
    assert torch.allclose(da, (p1 + p2).sum(0), atol=1e-12)
    assert torch.allclose(db, p1.T @ ends[0] + p2.T @ ends[1], atol=1e-12)


def test_a_collapsed_student_pays_1_and_descent_spreads_it():
    assert torch.allclose(costs(student(b=((0.0, 0.0), (0.0, 0.0)))), torch.ones(16).double())
    net = student(b=((0.1, 0.0), (0.0, 0.1)))
    before = costs(net)
    grads = torch.autograd.grad(before.mean(), (net.offset, net.matrix))
    with torch.no_grad():
        for parameter, grad in zip((net.offset, net.matrix), grads, strict=True):
            parameter -= 0.1 * grad
    assert costs(net).mean() < before.mean()


def test_without_the_reward_it_is_the_distillation_of_guidance():
    plain, rewarded = (
        load_recipe("guidance-distill"),
        load_recipe("diversity-rewarded", ["learners.student.objective.1.weight=0"]),
    )
    ours, theirs = (recipe.learners["student"] for recipe in (rewarded, plain))
    active = [spec.objective.active(Progress(0, 10)) for spec in (ours, theirs)]
    assert active[0] == active[1]
    assert list(active[0]) == ["Imitate"]
    assert (ours.optimiser, ours.averages) == (theirs.optimiser, theirs.averages)
    for name in ("sampler", "steps", "batch", "keep", "looks", "judged", "process"):
        assert getattr(rewarded, name) == getattr(plain, name)
    assert rewarded.frozen["guided"] == plain.frozen["guided"]
    assert load_recipe("diversity-rewarded").learners["student"].objective.active(Progress(0, 10)).keys() == {
        "Imitate", "Diversity",
    }  # fmt: skip


@dataclass(frozen=True)
class Kept(Space):
    """The samples as they are, and a list of what was embedded."""

    seen: list[Tensor]

    def __call__(self, turn, x, s, noised=None):
        self.seen.append(x)
        return x


def test_both_samples_of_a_pair_are_the_students_and_carry_its_graph():
    """Two rollouts under the same conditions: the first is the turn's own, the noise of the second is drawn for it."""
    net, seen, draws, c = student(), [], Given([*noise(), noise()[0]]), torch.arange(16)
    asked = Counted(Denoiser(net, PATH, X0()))
    turn = Turn("student", {"student": asked}, Batch(torch.zeros(16, 2).double(), c), draws, OneStep(START))
    Diversity(Kept(seen))(turn)
    assert draws.left == 1
    assert [told is c for _, _, told, _ in asked.asked] == [True, True]
    assert seen[0] is turn.samples.x0
    assert len(seen) == 2
    for y, z in zip(seen, noise(), strict=True):
        assert torch.allclose(y, column(*A) + START * z @ net.matrix.T)
        assert torch.autograd.grad(y.sum(), net.offset)[0].tolist() == [16, 16]
