"""How far a student's samples are from its teacher's, on the same seeds."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from fewstep.data import Digits, Shapes
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


class Remembers(nn.Module):
    """Answers each caption with the picture of the one ``shift`` places after it."""

    def __init__(self, pictures: torch.Tensor, captions: torch.Tensor, shift: int) -> None:
        super().__init__()
        self.pictures, self.captions = pictures.roll(-shift, 0), captions

    def forward(self, x: torch.Tensor, label: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """Return the pictures, whatever the noise."""
        return self.pictures[torch.cdist(c, self.captions).argmin(1)]


@pytest.mark.parametrize("shift", [0, 1])
def test_pictures_of_other_captions_cost_score_where_a_checker_tells(shift):
    """They have the law of the data, and no distance sees what they were asked for."""
    shapes = Shapes(16, "easy", count=48)
    real = shapes.batch(range(48))
    judge = Judge.of(real.x0, real.c, nn.Flatten(), checker=shapes.checker)
    view = Denoiser(Remembers(real.x0, real.c, shift), EDM(), X0())
    pupil = Model(view, FewStep(Explicit((1.0,)), steps=(1,)), (3, 16, 16), (), NETWORK, condition=shapes.condition)
    reference, names = reference_of(shapes, None, judge.labels)
    seen = Doctor(judge, Collapse.against(reference, names), samples=48).look(pupil, 0)
    right = judge.judge(pupil.sample(range(48), real.c), real.c, model="", steps=1, calls=1).accuracy
    assert seen["wrong at 1"] == pytest.approx(((1 - right) * 48 + 1) / 49)
    assert (right > 0.9) == (shift == 0)
    assert seen["score"] == pytest.approx((seen["frechet at 1"] * seen["wrong at 1"]) ** 0.5)


def test_score_of_classes_is_the_distance_alone(doctor):
    seen = replace(doctor).look(model(0), 0)
    assert seen["score"] == pytest.approx(seen["frechet at 1"])
    assert "wrong at 1" not in seen
