"""One row per term: it teaches the learner, and only the learner, however its networks are written."""

from dataclasses import dataclass

import pytest
import torch

from fewstep import terms
from fewstep.batch import Batch
from fewstep.couplings import Annealed, Stored
from fewstep.denoiser import Denoiser, Denoises
from fewstep.draws import Draws
from fewstep.endpoints import Beneath, OnGrid, Opposite, Origin, Segments
from fewstep.errors import RecipeError
from fewstep.pairs import Cells, Dyadic, Leaps, LogNormalCells, Midpoints, Moment, Ratio, ToData
from fewstep.points import Doubling, Even, Halving
from fewstep.predict import EDM, X0, Eps, V, Velocity
from fewstep.process import Process
from fewstep.scalars import Progress
from fewstep.solvers import DDIM, DPMSolver, Stochastic
from fewstep.terms import (
    KL,
    L1,
    Adaptive,
    Adversarial,
    AlphaDivergence,
    AlphaSigma,
    ApproximateR1,
    AtData,
    Averaged,
    Backtracking,
    Bootstrap,
    ByClass,
    Cauchy,
    Clamped,
    Consistency,
    DataShare,
    Denoise,
    Diffused,
    Discriminate,
    DistributionMatching,
    Diversity,
    Estimate,
    Features,
    ForwardKL,
    Gap,
    Here,
    HiddenScales,
    Hinge,
    Huber,
    Identity,
    Imitate,
    JensenShannon,
    JumpBridge,
    L2Norm,
    LeastSquares,
    Logistic,
    MinSNR,
    MixedSlope,
    NoisyResidual,
    OwnSamples,
    Plain,
    PseudoHuber,
    Reconstruct,
    Regress,
    Shortened,
    Signal,
    SignalStep,
    SNRPlusOne,
    Split,
    Square,
    Tangent,
    TeacherBridge,
    TeacherPath,
    TeacherSlope,
    Term,
    TruncatedSNR,
    VelocityWeight,
    Within,
)
from fewstep.testing import PATHS, ConformanceError, Gaussian, as_network, check_term
from fewstep.times import (
    Along,
    Karras,
    LogitNormal,
    LogNormal,
    LogStudentT,
    Milestones,
    Next,
    Straight,
    Trailing,
    Uniform,
)
from fewstep.training import OneStep, Transport
from fewstep.turn import Turn

GRID, CHAIN, TAPPED, NEAR = Karras(0.02, 8.0), Trailing(8.0, 3.0), Features(taps=("middle.0",)), Diffused(Transport())
EVEN = Straight(0.1, 0.9)
MULTISTEP = {
    "bridge": TeacherBridge(solver=DDIM()),
    "space": Estimate(),
    "metric": PseudoHuber(),
    "weight": SNRPlusOne(),
}
PROGRESSIVE = {
    "bridge": JumpBridge("target"),
    "target": Averaged("target"),
    "space": Estimate(),
    "weight": TruncatedSNR(),
}
ROWS: list[tuple[str, Term]] = [
    ("student", Denoise()),
    ("student", Denoise(weight=VelocityWeight(), times=LogitNormal(), metric=PseudoHuber())),
    ("student", Imitate()),
    ("student", Diversity(Here())),
    ("fake_score", Denoise(on="samples", weight=MinSNR(), drop=0.1)),
    ("student", Consistency(Cells(GRID))),
    ("student", Consistency(Cells(GRID, Doubling(4, 16), LogNormalCells()), metric=PseudoHuber(), weight=Gap())),
    ("student", Consistency(Ratio(), Origin(), metric=L2Norm(), weight=Gap())),
    ("student", Consistency(Cells(GRID), Segments(GRID, Even(5)), bridge=TeacherBridge(), target=Averaged("target"))),
    ("student", Consistency(Cells(GRID, Even(5)), OnGrid(GRID), bridge=TeacherBridge(solver=Stochastic(), substeps=3))),
    ("student", Consistency(Ratio(), bridge=TeacherBridge(solver=DPMSolver(), substeps=2))),
    ("student", Consistency(Cells(GRID, which=LogNormalCells()), states=NEAR, metric=Cauchy(), weight=Gap())),
    ("student", Consistency(Leaps(GRID, 4), OnGrid(GRID, share=0.5), bridge=TeacherBridge(), space=AtData("target"))),
    ("student", Consistency(Cells(CHAIN, Even(13)), Segments(CHAIN, Even(5)), **MULTISTEP)),
    ("student", Consistency(Midpoints(CHAIN, Halving()), Segments(CHAIN, Halving()), **PROGRESSIVE)),
    ("student", Consistency(Dyadic(8.0, 4), Opposite(), bridge=JumpBridge("target"), target=Averaged("target"))),
    ("student", Consistency(Ratio(LogStudentT(1.0, 8.0)), target=Split("teacher", 1.0), weight=Gap())),
    ("student", Consistency(Moment(1.0, 0.9), target=Split("teacher", 1.0), weight=Within(0.5, 2.0))),
    ("student", Consistency(Cells(GRID), states=TeacherPath(8.0), bridge=TeacherBridge(), space=Estimate())),
    ("student", Consistency(ToData(Milestones(CHAIN, 4)), states=OwnSamples(CHAIN), bridge=TeacherBridge())),
    ("student", Consistency(Ratio(LogNormal()), Beneath(share=0.5), bridge=TeacherBridge())),
    ("student", Tangent(LogNormal(), slope=TeacherSlope(), output=EDM(), scale=DataShare(), warmup=0.5)),
    ("student", Tangent(LogNormal(), Beneath(share=0.5), taming=Adaptive(0.75))),
    ("student", Tangent(EVEN, OnGrid(GRID), states=TeacherPath(8.0), slope=TeacherSlope(), taming=Square())),
    ("student", Tangent(LogNormal(), slope=MixedSlope(0.5, 0.3), output=V())),
    ("student", Bootstrap(8.0, Cells(CHAIN, Even(9)), weight=SignalStep())),
    ("student", Bootstrap(8.0, ToData(Straight(0.2, 0.8)), solver=DPMSolver(), metric=L1())),
    ("student", Reconstruct()),
    ("student", Denoise(times=Straight(0.0, 0.99), weight=VelocityWeight(), coupling=Stored())),
    ("student", Denoise(times=Straight(0.0, 0.99), weight=TruncatedSNR(), coupling=Annealed(0.4))),
    ("student", DistributionMatching()),
    ("student", DistributionMatching(normaliser=KL(), times=Along(Karras()))),
    ("student", DistributionMatching(normaliser=Plain())),
    ("student", DistributionMatching(normaliser=AlphaSigma(), guide=HiddenScales(0.5, 4.0))),
    ("student", DistributionMatching(normaliser=NoisyResidual(), capped=True)),
    ("student", DistributionMatching(divergence=JensenShannon())),
    ("student", DistributionMatching(divergence=AlphaDivergence(0.3), estimator=Shortened(Huber()))),
    ("student", DistributionMatching(estimator=Identity(1.2))),
    ("student", DistributionMatching(normaliser=Plain(), estimator=Identity(1.0, PseudoHuber(0.1)))),
    ("student", Adversarial(loss=Logistic(ForwardKL()))),
    ("student", Adversarial()),
    ("student", Adversarial(loss=Hinge(), times=LogitNormal())),
    ("student", Adversarial(loss=LeastSquares())),
    ("student", Adversarial(loss=Clamped(5.0), times=Next(CHAIN))),
    ("student", DistributionMatching(fake=None, normaliser=Signal())),
    ("fake_score", Discriminate()),
    ("fake_score", Discriminate(loss=Hinge())),
    ("fake_score", Discriminate(loss=LeastSquares())),
    ("fake_score", ApproximateR1()),
    ("student", DistributionMatching(Backtracking(("teacher", "student.target")), capped=True)),
    ("fake_score", Denoise(on="samples", weight=MinSNR(), capped=True, importance=True)),
    ("student", Regress(start=80.0)),
]
OF_CLASSES: list[tuple[str, Term]] = [("student", ByClass((0,), 0.1, DistributionMatching()))]
TAPPING: list[tuple[str, Term]] = [  # features are those of one network, however exact another is
    ("student", Consistency(Cells(GRID), bridge=TeacherBridge(), space=TAPPED, metric=Huber())),
    ("student", Bootstrap(8.0, Cells(GRID, Even(9)), space=TAPPED)),
    ("student", Reconstruct(metric=L1(), space=TAPPED)),
    ("student", Regress(start=80.0, metric=L1(), space=TAPPED)),
]


def rows(chosen: list[tuple[str, Term]]):
    return pytest.mark.parametrize(("me", "term"), chosen, ids=lambda each: each if isinstance(each, str) else None)


@rows([*ROWS, *TAPPING])
def test_term_teaches_the_learner_and_only_the_learner(me: str, term: Term):
    check_term(term, PATHS["edm"], me)


@rows(OF_CLASSES)
def test_term_about_classes_teaches_the_learner_and_only_the_learner(me: str, term: Term):
    check_term(term, PATHS["edm"], me, c=torch.arange(16) % 2)


def test_every_term_has_a_row():
    kinds = {vars(terms)[name] for name in terms.__all__}
    concrete = {kind for kind in kinds if issubclass(kind, Term)} - {Term}
    assert {type(term) for _, term in [*ROWS, *TAPPING, *OF_CLASSES]} == concrete


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
    views = dict[str, Denoises](spelled(path, prediction))
    if isinstance(term, Tangent):  # the network that finds the time to a label has no derivative by time
        views["student"] = Gaussian(path, 0.2 * torch.ones(2, dtype=torch.float64), 0.9)
    draws = Draws(1, x0.device)
    return term(Turn(me, views, Batch(x0, None, z), draws, OneStep(path.t_max), Progress(3, 8)))


@rows(ROWS)
def test_cost_is_the_same_however_the_networks_are_written(me: str, term: Term):
    costs = [cost_of(term, me, PATHS["edm"], prediction) for prediction in PREDICTIONS.values()]
    for name, cost in zip(PREDICTIONS, costs, strict=True):
        assert torch.allclose(cost, costs[0], rtol=1e-6, atol=1e-9), name


@pytest.mark.parametrize("name", ["linear shifted", "trigflow", "vp scaled"])
@pytest.mark.parametrize(
    ("me", "kind"),
    [
        ("student", "consistency"),
        ("student", "bootstrap"),
        ("student", "teacher path"),
        ("student", "matching"),
        ("fake_score", "denoise"),
    ],
)
def test_cost_is_the_same_however_written_on_other_paths(name: str, me: str, kind: str):
    path = PATHS[name]
    law = Along(Uniform(0.0, path.t_max), 0.05, 0.9)
    grid = Cells(Uniform(0.05 * path.t_max, 0.9 * path.t_max), Even(7))
    bridge = TeacherBridge(solver=DDIM())
    kinds = {
        "consistency": Consistency(grid, OnGrid(Uniform(0.05 * path.t_max, 0.9 * path.t_max), Even(7)), bridge=bridge),
        "bootstrap": Bootstrap(0.9 * path.t_max, grid),
        "teacher path": Consistency(grid, states=TeacherPath(0.9 * path.t_max), bridge=bridge, space=Estimate()),
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
