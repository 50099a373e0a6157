"""One row per term: it teaches the learner, and only the learner, however its networks are written."""

from dataclasses import dataclass

import pytest
import torch

from fewstep import terms
from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.draws import Draws
from fewstep.errors import RecipeError
from fewstep.pairs import Below, Cells, Doubling, Even, LogNormalCells, Origin, Ratio, Segment
from fewstep.predict import EDM, X0, Eps, V, Velocity
from fewstep.process import Process
from fewstep.scalars import Progress
from fewstep.solvers import DDIM, DPMSolver, Stochastic
from fewstep.terms import (
    KL,
    L1,
    Adversarial,
    Consistency,
    Denoise,
    Discriminate,
    DistributionMatching,
    Gap,
    Hinge,
    L2Norm,
    MinSNR,
    Plain,
    PseudoHuber,
    Regress,
    TeacherBridge,
    Term,
    VelocityWeight,
)
from fewstep.testing import PATHS, ConformanceError, Gaussian, as_network, check_term
from fewstep.times import Along, Karras, LogitNormal, Uniform
from fewstep.training.rollouts import OneStep
from fewstep.turn import Turn

GRID = Karras(0.02, 8.0)
ROWS: list[tuple[str, Term]] = [
    ("student", Denoise()),
    ("student", Denoise(weight=VelocityWeight(), times=LogitNormal(), metric=PseudoHuber())),
    ("fake_score", Denoise(on="samples", weight=MinSNR(), drop=0.1)),
    ("student", Consistency(Cells(GRID))),
    ("student", Consistency(Cells(GRID, Doubling(4, 16), LogNormalCells()), metric=PseudoHuber(), weight=Gap())),
    ("student", Consistency(Ratio(), Origin(), metric=L2Norm(), weight=Gap())),
    ("student", Consistency(Cells(GRID), Segment((2.0, 0.3)), TeacherBridge(), target="target")),
    ("student", Consistency(Cells(GRID, Even(5)), Below(), TeacherBridge(solver=Stochastic(), substeps=3))),
    ("student", Consistency(Ratio(), bridge=TeacherBridge(solver=DPMSolver(), substeps=2))),
    ("student", DistributionMatching()),
    ("student", DistributionMatching(normaliser=KL(), times=Along(Karras()))),
    ("student", DistributionMatching(normaliser=Plain())),
    ("student", Adversarial()),
    ("student", Adversarial(loss=Hinge(), times=LogitNormal())),
    ("fake_score", Discriminate()),
    ("fake_score", Discriminate(loss=Hinge())),
    ("student", Regress(start=80.0)),
    ("student", Regress(start=80.0, metric=L1())),
]
rows = pytest.mark.parametrize(("me", "term"), ROWS, ids=lambda each: each if isinstance(each, str) else None)


@rows
def test_term_teaches_the_learner_and_only_the_learner(me: str, term: Term):
    check_term(term, PATHS["edm"], me)


def test_every_term_has_a_row():
    kinds = {vars(terms)[name] for name in terms.__all__}
    concrete = {kind for kind in kinds if issubclass(kind, Term)} - {Term}
    assert {type(term) for _, term in ROWS} == concrete


PREDICTIONS = {"eps": Eps(), "x0": X0(), "v": V(), "velocity": Velocity(), "edm": EDM(), "edm 0.002": EDM(0.002)}


def spelled(path: Process, prediction) -> dict[str, Denoiser]:
    """Exact worlds as networks of that prediction: four different laws, the critic's logit a true log ratio."""
    laws = {"student": (0.2, 0.9), "student.target": (0.1, 0.8), "teacher": (0.5, 0.6), "fake_score": (-0.3, 0.7)}
    mean = torch.ones(2, dtype=torch.float64)
    worlds = {name: Gaussian(path, centre * mean, std) for name, (centre, std) in laws.items()}
    against = worlds["student"]
    return {name: Denoiser(as_network(world, prediction, against), path, prediction) for name, world in worlds.items()}


def cost_of(term: Term, me: str, path: Process, prediction) -> torch.Tensor:
    x0, z = torch.randn(2, 16, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    draws = Draws(1, x0.device)
    return term(Turn(me, spelled(path, prediction), Batch(x0, None, z), draws, OneStep(path.t_max), Progress(3, 8)))


@rows
def test_cost_is_the_same_however_the_networks_are_written(me: str, term: Term):
    costs = [cost_of(term, me, PATHS["edm"], prediction) for prediction in PREDICTIONS.values()]
    for name, cost in zip(PREDICTIONS, costs, strict=True):
        assert torch.allclose(cost, costs[0], rtol=1e-6, atol=1e-9), name


@pytest.mark.parametrize("name", ["linear shifted", "trigflow", "vp scaled"])
@pytest.mark.parametrize(
    ("me", "kind"), [("student", "consistency"), ("student", "matching"), ("fake_score", "denoise")]
)
def test_cost_is_the_same_however_written_on_other_paths(name: str, me: str, kind: str):
    path = PATHS[name]
    law = Along(Uniform(0.0, path.t_max), 0.05, 0.9)
    grid = Cells(Uniform(0.05 * path.t_max, 0.9 * path.t_max), Even(7))
    bridge = TeacherBridge(solver=DDIM())
    kinds = {
        "consistency": Consistency(grid, Below(), bridge),
        "matching": DistributionMatching(times=law),
        "denoise": Denoise(times=law),
    }
    start = OneStep(0.9 * path.t_max)  # eps has no meaning where alpha is 0
    x0, z = torch.randn(2, 16, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    costs = [
        kinds[kind](Turn(me, spelled(path, prediction), Batch(x0, None, z), Draws(1, x0.device), start))
        for prediction in PREDICTIONS.values()
    ]
    assert all(torch.allclose(cost, costs[0], rtol=1e-6, atol=1e-9) for cost in costs)


@dataclass(frozen=True)
class Broken(Term):
    """Terms that break one rule each."""

    rule: str
    SOURCE = "none"

    def networks(self):
        return {"networks": ("nobody",), "frozen": ("teacher",)}.get(self.rule, ())

    def __call__(self, turn):
        cost = turn.denoiser()(turn.batch.x0, turn.times(LogitNormal())).square().mean(1)
        if self.rule == "learner":
            return cost.detach()
        if self.rule == "changes":
            return 0 * cost
        if self.rule in ("frozen", "unnamed"):
            turn.denoiser("teacher").net.requires_grad_(True)
        if self.rule == "draws":
            return cost + torch.rand(1, dtype=torch.float64)
        return cost.mean() if self.rule == "item" else cost


@pytest.mark.parametrize("rule", ["learner", "changes", "draws", "item", "networks", "frozen"])
def test_conformance_finds_the_broken_rule(rule: str):
    check_term(Broken("none"), PATHS["edm"])
    with pytest.raises(ConformanceError, match=rule):
        check_term(Broken(rule), PATHS["edm"])


def test_conformance_finds_a_network_that_was_not_named():
    with pytest.raises(RecipeError, match="'teacher'"):
        check_term(Broken("unnamed"), PATHS["edm"])
