"""Numbers that change while training."""

import math

import pytest

from fewstep.errors import RecipeError
from fewstep.scalars import Cosine, InverseSqrt, Piecewise, Progress, scalar


def test_progress_is_a_share_of_the_training_and_never_more_than_1():
    assert [Progress(update, 4).fraction for update in (0, 1, 4, 9)] == [0, 0.25, 1, 1]
    assert Progress(3, 0).fraction == 1


def test_plain_numbers_stay():
    assert {scalar(0.3, Progress(update, 10)) for update in range(11)} == {0.3}


def test_piecewise_runs_straight_between_its_points_and_flat_outside():
    rule = Piecewise(((0.2, 1.0), (0.6, 3.0), (0.8, 0.0)))
    at = [scalar(rule, Progress(update, 10)) for update in (0, 2, 4, 6, 7, 8, 10)]
    assert at == pytest.approx([1, 1, 2, 3, 1.5, 0, 0])


def test_warm_up_and_decay_is_a_piecewise():
    rule = Piecewise(((0.0, 0.0), (0.1, 1e-3), (1.0, 0.0)))
    assert [rule.at(Progress(update, 100)) for update in (0, 5, 10, 55, 100)] == pytest.approx([0, 5e-4, 1e-3, 5e-4, 0])


def test_piecewise_may_jump():
    rule = Piecewise(((0.0, 1.0), (0.5, 1.0), (0.5, 2.0), (1.0, 2.0)))
    assert [rule.at(Progress(update, 100)) for update in (49, 50, 51)] == [1, 2, 2]


@pytest.mark.parametrize("points", [(), ((0.5, 1.0), (0.2, 1.0)), ((-0.1, 1.0),), ((0.0, 1.0), (1.1, 2.0))], ids=str)
def test_piecewise_refuses_fractions_that_do_not_ascend_within_0_and_1(points):
    with pytest.raises(RecipeError, match="fractions ascend from 0 to 1"):
        Piecewise(points)


def test_cosine_is_half_a_wave():
    assert [Cosine(3.0, 1.0).at(Progress(update, 4)) for update in range(5)] == pytest.approx(
        [3, 2 + math.sqrt(0.5), 2, 2 - math.sqrt(0.5), 1]
    )


def test_inverse_sqrt_is_constant_and_then_decays():
    rule = InverseSqrt(1e-2, after=100)
    assert [rule.at(Progress(update, 1000)) for update in (0, 100, 400, 900)] == pytest.approx(
        [1e-2, 1e-2, 5e-3, 1e-2 / 3]
    )
