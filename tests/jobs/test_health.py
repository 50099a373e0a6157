"""How far a student's samples are from its teacher's, on the same seeds."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from fewstep.data import Digits
from fewstep.denoiser import Denoiser
from fewstep.evaluate import Judge
from fewstep.jobs.health import Doctor, features_of, reference_of
from fewstep.model import Model
from fewstep.predict import X0
from fewstep.process import EDM
from fewstep.sampling import FewStep
from fewstep.times import Explicit
from fewstep.training import Collapse

NETWORK = {"unet": {"channels": 1, "classes": 10, "widths": [8]}}


class Around(nn.Module):
    """Answers each item with what the one ``shift`` places before it is fed."""

    def __init__(self, shift: int) -> None:
        super().__init__()
        self.shift = shift

    def forward(self, x: torch.Tensor, label: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        """Return the items in another order."""
        return x.roll(self.shift, 0)


def model(shift: int) -> Model:
    sampler = FewStep(Explicit((1.0,)), steps=(1,))
    return Model(Denoiser(Around(shift), EDM(), X0()), sampler, (1, 8, 8), tuple("0123456789"), NETWORK)


@pytest.fixture(scope="module")
def doctor() -> Doctor:
    digits = Digits().batch(range(128))
    judge = Judge.of(digits.x0, digits.c, nn.Flatten())
    reference, names = reference_of(Digits(), model(0), judge.labels)
    return Doctor(judge, Collapse.against(reference, names), samples=16, teacher=features_of(judge, reference))


def test_the_teacher_is_at_distance_0_from_itself(doctor):
    assert doctor.look(model(0), 0)["distance to the teacher"] == 0


@pytest.mark.parametrize("shift", [1, 3])
def test_student_with_the_seeds_in_another_order_is_at_distance_1(doctor, shift):
    """Another seed is as far as another seed."""
    assert replace(doctor).look(model(shift), 0)["distance to the teacher"] == pytest.approx(1, abs=0.1)


def test_without_a_teacher_nothing_is_said(doctor):
    assert "distance to the teacher" not in replace(doctor, teacher=None).look(model(0), 0)
