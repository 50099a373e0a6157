"""What does not fit is refused before a training begins."""

import pytest
import torch

from fewstep.batch import Batch
from fewstep.denoiser import Denoiser
from fewstep.endpoints import Beneath, OnGrid, Origin
from fewstep.errors import RecipeError
from fewstep.networks import MLP, DiT
from fewstep.pairs import Cells, Ratio
from fewstep.points import Doubling, Even, Halving, SquareRoot
from fewstep.predict import EDM, X0
from fewstep.process import EDM as Path
from fewstep.recipes.rehearse import rehearse
from fewstep.terms import (
    Consistency,
    Denoise,
    Features,
    Regress,
    Scales,
    StoredBridge,
    StoredPath,
    Tangent,
    TeacherBridge,
)
from fewstep.times import LogNormal, Rectified
from fewstep.training import Adam, Learner, OneStep, Training

GRID = Rectified(20.0)
POINTS = Batch(torch.randn(8, 2, generator=torch.Generator().manual_seed(0)))


def training(term, steps: int = 100, net=None, prediction=None, second_time: bool = False) -> Training:
    net = MLP(2, width=16, depth=1, second_time=second_time) if net is None else net
    view = Denoiser(net, Path(), prediction or EDM(), second_time)
    teacher = Denoiser(MLP(2, width=16, depth=1), Path())
    return Training({"student": Learner(view, term, Adam(1e-3))}, OneStep(20.0), {"teacher": teacher}, steps)


FITTING = {
    "consistency": Consistency(Cells(GRID, Even(9))),
    "ratio": Consistency(Ratio(LogNormal(), stages=4)),
    "denoise": Denoise(),
    "features": Regress(20.0, space=Features("teacher", ("middle.0",))),
}


@pytest.mark.parametrize("name", FITTING)
def test_what_fits_is_computed_and_changes_nothing(name: str):
    made = training(FITTING[name])
    before = [p.clone() for p in made.learners["student"].bare.parameters()]
    state = torch.random.get_rng_state()
    rehearse(made, Batch(POINTS.x0, None, POINTS.x0))
    assert all(torch.equal(a, b) for a, b in zip(before, made.learners["student"].bare.parameters(), strict=True))
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (Regress(20.0), "needs stored pairs"),
        (Consistency(Cells(GRID, Even(9)), states=StoredPath(GRID), bridge=StoredBridge(GRID)), "'path: true'"),
        (Consistency(Cells(GRID, Even(9)), OnGrid(GRID, Even(9))), "second_time: true"),
        (Tangent(LogNormal(), Beneath()), "second_time: true"),
        (Consistency(Cells(GRID, Even(9)), bridge=TeacherBridge(), guide=Scales(1.0, 3.0)), "with scale: true"),
        (Consistency(Cells(GRID, SquareRoot(2, 150))), "150 stages.*100 updates"),
        (Consistency(Cells(GRID, Halving(2**110, 110))), "110 stages.*100 updates"),
        (Consistency(Ratio(LogNormal(), stages=101)), "101 stages.*100 updates"),
    ],
)
def test_what_is_not_there_is_named(term, message: str):
    with pytest.raises(RecipeError, match=message):
        rehearse(training(term), POINTS)


def test_a_part_that_no_network_has_is_named():
    term = Regress(20.0, space=Features("teacher", ("middel",)))
    with pytest.raises(RecipeError, match=r"no part 'middel'.*middle"):
        rehearse(training(term), Batch(POINTS.x0, None, POINTS.x0))


def test_a_student_without_the_boundary_is_refused():
    with pytest.raises(RecipeError, match=r"a consistency cost needs"):
        rehearse(training(Consistency(Cells(GRID, Even(9)), Origin()), prediction=X0()), POINTS)


def test_a_network_for_other_items_is_refused_with_both_shapes():
    with pytest.raises(RecipeError, match=r"cannot be computed on items of \[2\]"):
        rehearse(training(Denoise(), net=DiT(1, width=32, depth=1)), POINTS)


def test_stored_trajectories_of_another_schedule_are_refused():
    term = Consistency(Cells(GRID, Even(9)), states=StoredPath(GRID), bridge=StoredBridge(GRID))
    whole = Batch(POINTS.x0, None, POINTS.x0, torch.randn(8, 8, 2))
    rehearse(training(term), whole)
    with pytest.raises(RecipeError, match="stored trajectories stand at"):
        rehearse(training(term), Batch(POINTS.x0, None, POINTS.x0, torch.randn(8, 5, 2)))


@pytest.mark.parametrize(
    ("points", "stages"), [(Even(9), 1), (SquareRoot(2, 20), 20), (Doubling(5, 40), 4), (Halving(8, 4), 4)]
)
def test_a_curriculum_knows_how_many_stages_it_has(points, stages: int):
    assert points.stages == stages
