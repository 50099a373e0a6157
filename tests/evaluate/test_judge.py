"""The judge ranks as it should, leaves its inputs alone and refuses what has no quality."""

import pytest
import torch
from torch import Tensor, nn

from fewstep.errors import DataError, UnhealthyTraining
from fewstep.evaluate import Classifier, Judge, Row


@pytest.fixture(scope="module")
def judge(digits: tuple[Tensor, Tensor], classifier: Classifier) -> Judge:
    return Judge.of(*digits, classifier.trunk, classifier)


@pytest.fixture(scope="module")
def floor(judge: Judge) -> Row:
    return judge.floor()


def judged(judge: Judge, images: Tensor, labels: Tensor | None) -> Row:
    return judge.judge(images, labels, model="student", steps=1, calls=1)


def test_floor_is_half_against_half(floor: Row):
    assert (floor.model, floor.samples, floor.steps, floor.calls) == ("real", 898, None, None)
    assert 0 < floor.frechet < 0.2
    assert abs(floor.kernel) < 0.02
    assert min(floor.precision, floor.recall) > 0.8
    assert floor.accuracy > 0.97


def test_row_says_what_was_judged(judge: Judge, digits: tuple[Tensor, Tensor]):
    row = judge.judge(*digits, model="teacher", steps=18, calls=35, seconds_per_image=0.5)
    assert (row.model, row.steps, row.calls, row.seconds_per_image, row.samples) == ("teacher", 18, 35, 0.5, 1797)
    assert row.frechet == pytest.approx(0, abs=1e-6)
    assert (row.precision, row.recall) == (1.0, 1.0)


def test_diversity_and_accuracy_of_the_real_images_are_those_of_the_floor(
    judge: Judge, floor: Row, digits: tuple[Tensor, Tensor]
):
    row = judged(judge, *digits)
    assert (row.diversity, row.accuracy, row.vendi) == (floor.diversity, floor.accuracy, floor.vendi)


def test_more_noise_is_further_away(judge: Judge, digits: tuple[Tensor, Tensor]):
    images, labels = (each[:600] for each in digits)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    rows = [judged(judge, images + scale * noise, labels) for scale in (0.2, 0.5, 1.0)]
    assert [row.frechet for row in rows] == sorted(row.frechet for row in rows)
    assert [row.kernel for row in rows] == sorted(row.kernel for row in rows)
    assert [row.accuracy for row in rows] == sorted((row.accuracy for row in rows), reverse=True)


def test_repetition_loses_recall_and_diversity_but_not_precision(
    judge: Judge, floor: Row, digits: tuple[Tensor, Tensor]
):
    images, labels = (tensor[:60].repeat(10, *[1] * (tensor.ndim - 1)) for tensor in digits)
    row = judged(judge, images, labels)
    assert row.precision == 1
    assert row.recall < 0.2
    assert row.diversity < floor.diversity


def test_images_are_clamped_before_they_are_judged(judge: Judge, digits: tuple[Tensor, Tensor]):
    images, labels = digits[0][:200] * 1.3, digits[1][:200]
    assert judged(judge, images, labels) == judged(judge, images.clamp(-1, 1), labels)


def test_without_labels_or_classifier_there_is_no_accuracy(digits: tuple[Tensor, Tensor], classifier: Classifier):
    images, labels = digits[0][:200], digits[1][:200]
    assert judged(Judge.of(images, labels, classifier.trunk), images, labels).accuracy is None
    assert judged(Judge.of(images, None, classifier.trunk, classifier), images, None).accuracy is None


def test_a_judge_without_a_class_remembers_all_others(judge: Judge):
    fewer = judge.without([3, 7])
    kept = (judge.labels != 3) & (judge.labels != 7)
    assert torch.equal(fewer.features, judge.features[kept])
    assert sorted(set(fewer.labels.tolist())) == [0, 1, 2, 4, 5, 6, 8, 9]
    assert judge.without([]) is judge


def test_items_without_a_class_do_not_count_for_accuracy(judge: Judge, digits: tuple[Tensor, Tensor]):
    images, labels = digits[0][:100], digits[1][:100].clone()
    alone = judged(judge, images[:50], labels[:50]).accuracy
    labels[50:] = -1
    assert judged(judge, images, labels).accuracy == alone


def test_any_module_that_returns_vectors_can_judge(digits: tuple[Tensor, Tensor]):
    judge = Judge.of(*digits, nn.Sequential(nn.AvgPool2d(2), nn.Flatten()))
    assert judge.features.shape == (1797, 16)
    assert judge.floor().frechet > 0


def test_judging_draws_nothing_from_the_global_random_state(judge: Judge, digits: tuple[Tensor, Tensor]):
    before = torch.get_rng_state()
    judged(judge, digits[0][:50], digits[1][:50])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_images_that_are_not_finite_are_a_diagnosis(judge: Judge, digits: tuple[Tensor, Tensor], value: float):
    images = digits[0][:20].clone()
    images[3, 0, 2, 2] = value
    with pytest.raises(UnhealthyTraining, match="1 of 20 images"):
        judged(judge, images, digits[1][:20])


def test_real_data_that_cannot_serve_are_refused(digits: tuple[Tensor, Tensor]):
    with pytest.raises(DataError, match="at least 8"):
        Judge.of(digits[0][:7], digits[1][:7], nn.Flatten())
