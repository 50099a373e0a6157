"""Nearer targets first: the card of DisBack, in the Gaussian world and in a small training."""

from itertools import pairwise

import pytest
import torch
from accelerate import Accelerator
from matching import ALPHA, G1, G1A, SIGMA, TEACHER, at, column, normal
from torch import Tensor, nn

from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.errors import RecipeError
from fewstep.predict import X0
from fewstep.process import EDM
from fewstep.recipes import load_recipe
from fewstep.scalars import Progress, Snapshot
from fewstep.terms import KL, Backtracking, Denoise, DistributionMatching, One, Plain
from fewstep.testing import Affine, Given, normal_points, small_views
from fewstep.training import Adam, Ema, Learner, OneStep, Training, train
from fewstep.turn import Turn


class Unlearning(nn.Module):
    """The denoiser of a Gaussian at time 1 of G1, whose mean and deviation learn."""

    def __init__(self) -> None:
        super().__init__()
        mean, std = TEACHER
        self.mean, self.std = (nn.Parameter(torch.tensor(each, dtype=torch.float64)) for each in (mean, std))

    def forward(self, x: Tensor, label: Tensor, c: Tensor | None = None) -> Tensor:
        share = ALPHA * self.std**2 / (ALPHA**2 * self.std**2 + SIGMA**2)
        return self.mean + share * (x - ALPHA * self.mean)


def cost_of(term, me: str, views: dict, progress: Progress) -> Tensor:
    points, weights = normal_points(4, 2)
    batch = Batch(torch.zeros(len(points), 1, dtype=torch.float64))
    draws = Given([points[:, :1], points[:, 1:]], [column(0.5)])
    return weights @ term(Turn(me, views, batch, draws, OneStep(2.0), progress))


def degradation() -> tuple[list[tuple[float, float]], list[float]]:
    """Mean and deviation of a copy of the teacher while it learns the samples of the first student, and its error."""
    net = Unlearning()
    first = Affine(column(G1A[0]), column(G1A[1])[None]).requires_grad_(False)
    views = {"student": Denoiser(first, G1, X0()), "fake_score": Denoiser(net, G1, X0())}
    term = Denoise(on="samples", times=at(1.0), weight=One())
    optimiser, seen, errors = torch.optim.SGD(net.parameters(), 0.2), [], []
    for _ in range(300):
        seen.append((net.mean.item(), net.std.item()))
        optimiser.zero_grad()
        error = cost_of(term, "fake_score", views, Progress())
        error.backward()
        optimiser.step()
        errors.append(error.item())
    return seen, errors


def test_degradation_leads_from_the_teacher_to_the_first_student_and_back():
    """After each phase the student is the node that was its target, after the last one the teacher."""
    way, errors = degradation()
    assert way[0] == TEACHER
    assert all(after < before for before, after in pairwise(errors))
    assert all(after[0] < before[0] for before, after in pairwise(way))
    assert way[3][1] > way[0][1]  # on the way it is even wider than the student, as long as its mean is wrong
    assert way[-1] == pytest.approx(G1A, abs=2e-2)
    nodes = [way[30], way[5], TEACHER]
    names = ("far", "near", "teacher")
    assert all(one != two for one, two in pairwise(nodes))
    term = DistributionMatching(Backtracking(names, 0.3), times=at(1.0), normaliser=KL())
    a, b = G1A
    for phase, node in zip((0.0, 0.3, 0.6), nodes, strict=True):
        for i in range(60):
            net = Affine(column(a), column(b)[None])
            views = {name: normal(G1, *each) for name, each in zip(names, nodes, strict=True)}
            views |= {"student": Denoiser(net, G1, X0()), "fake_score": normal(G1, a, b)}
            cost = cost_of(term, "student", views, Progress(int(1000 * phase) + i, 1000))
            da, db = torch.autograd.grad(cost, (net.offset, net.matrix))
            a, b = a - 0.4 * da.item(), b - 0.4 * db.item()
        assert (a, b) == pytest.approx(node, abs=5e-3)


def test_the_last_network_is_the_teacher_to_the_end():
    path = Backtracking(("far", "near", "teacher"), 0.1)
    found = [path.at(Progress(i, 20)) for i in range(21)]
    assert found == ["far"] * 2 + ["near"] * 2 + ["teacher"] * 17
    assert DistributionMatching(path).networks() == ("far", "near", "teacher", "fake_score")


@pytest.mark.parametrize(
    ("path", "interval", "message"),
    [
        ((), 0.1, r"a path of 0 networks.*accepted are one or more"),
        (("near", "teacher"), 1.0, "leaves time for the last one, the teacher"),
        (("near", "teacher"), 0.0, "interval above 0"),
        (("near", "near", "teacher"), 0.1, r"stays where it is.*Leave out those that stand twice"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(path, interval: float, message: str):
    with pytest.raises(RecipeError, match=message):
        Backtracking(path, interval)


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_a_snapshot_is_within_the_training(share: float):
    with pytest.raises(RecipeError, match="accepted is above 0 to 1"):
        Snapshot(share)


def training(real="teacher", after: int = 0, **shares: float) -> Training:
    views = small_views(EDM())
    averages = {name: Ema(Snapshot(share), warm=False) for name, share in shares.items()}
    student = DistributionMatching(real, normaliser=Plain())
    fake = Denoiser(small_views(EDM())["teacher"].net, EDM())
    learners = {
        "student": Learner(views["student"], student, Adam(1e-2), after=after),
        "fake_score": Learner(fake, Denoise(on="samples"), Adam(1e-2), averages=averages),
    }
    views["teacher"].net.requires_grad_(False)
    return Training(learners, OneStep(2.0), {"teacher": views["teacher"]}, steps=10)


def run(made: Training) -> list[dict[str, Tensor]]:
    """Train; return the weights of the fake score after each of its updates."""
    x0 = torch.randn(8, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    accelerator, seen = Accelerator(cpu=True), []
    made.prepare(accelerator)
    for report in train(made, (Batch(x0) for _ in range(10)), accelerator):
        if report.learner == "fake_score":
            seen.append({name: each.clone() for name, each in made.learners["fake_score"].bare.state_dict().items()})
    return seen


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], two[name]) for name in one)


def test_nodes_are_the_fake_score_as_it_was_and_every_two_differ():
    path = Backtracking(("fake_score.far", "fake_score.near", "teacher"), 0.3)
    made = training(path, after=5, near=0.2, far=0.4)
    seen = run(made)
    nodes = {name: each.net.state_dict() for name, each in made.learners["fake_score"].followers.items()}
    assert same(nodes["near"], seen[1])
    assert same(nodes["far"], seen[3])
    assert not same(nodes["near"], nodes["far"])
    assert not same(nodes["far"], seen[4])
    assert not same(nodes["near"], small_views(EDM())["teacher"].net.state_dict())


def test_a_path_of_the_teacher_alone_is_the_teacher_bit_for_bit():
    trainings = [training("teacher"), training(Backtracking(("teacher",)))]
    ends = [run(each)[-1] for each in trainings]
    assert same(*ends)
    assert same(*(each.learners["student"].bare.state_dict() for each in trainings))


def test_a_snapshot_that_nobody_takes_is_refused():
    with pytest.raises(RecipeError, match=r"asks for the network 'fake_score\.fra'; did you mean 'fake_score\.far'"):
        training(Backtracking(("fake_score.fra", "teacher")), far=0.2)


def test_recipe_without_its_path_is_the_one_it_builds_on():
    """And its nodes are all taken before the student moves."""
    mine, base = load_recipe("disback"), load_recipe("diff-instruct")
    student, fake = mine.learners["student"], mine.learners["fake_score"]
    taken = [each.decay.share * fake.updates(mine.steps) for each in fake.averages.values()]
    assert 0 < max(taken) < student.after * mine.steps
    plain = ["learners.student.after=0", "learners.fake_score.averages={}"]
    plain += ["learners.student.objective.0.distribution_matching.real=teacher"]
    bare = load_recipe("disback", plain)
    assert bare.learners == base.learners
    assert (bare.sampler, bare.steps, bare.batch) == (base.sampler, base.steps, base.batch)
    assert abs(taken[1] - taken[0]) >= 20
